"""A referral comes in by FHIR: from whom, for which plan, about whom; all of it or nothing."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from tests.builders import (
    CIN,
    CLINIC,
    HARBOR,
    HUB,
    PARTNERS,
    PATIENT,
    PLAN,
    REFERRED,
    REQUEST,
    TASK,
    a_bundle,
    a_partner,
    a_patient,
    a_service_request,
    a_task,
    assigned_output,
    because,
    decided_output,
    posted,
    put,
    referral_bundle,
    register,
    said,
)
from tests.stored_loops import (
    a_file,
    a_row,
    ask,
    counts,
    decide_and_assign,
    events,
    facts,
    imported,
    notices,
    now,
    plan_decides,
    refer,
    referrals,
    the_referral,
    versions,
    written,
)

from fhir_hub_bridge.errors import Rejected, ResourceRejected, RuleBroken
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.intake import record_referral
from fhir_hub_bridge.intake.receive_fhir import Asked
from fhir_hub_bridge.intake.record_referral import resource_ids
from fhir_hub_bridge.store.buckets import bucket_of, bucket_of_key
from fhir_hub_bridge.store.referrals import has_open
from fhir_hub_bridge.store.transaction import Store


@pytest.fixture(autouse=True)
async def _partners(store: Store) -> None:
    await register(store)


async def test_a_transaction_opens_a_referral_and_keeps_what_was_sent(store: Store) -> None:
    answered = await ask(store, posted(referral_bundle()))

    ids = written(answered)
    stored = await the_referral(store, ids["Task"])
    assert stored.referral.service == "ecm"
    assert stored.referral.cin == CIN
    assert stored.referral.plan == PLAN.party
    assert stored.referral.requester == CLINIC.party
    assert stored.referral.referred_on == REFERRED
    assert [i.value for i in stored.referral.identifiers] == ["R-1"]
    task = await now(store, f"Task/{ids['Task']}")
    sent = a_task(
        focus={"reference": f"ServiceRequest/{ids['ServiceRequest']}"},
        **{"for": {"reference": f"Patient/{ids['Patient']}"}},
    )
    assert {k: v for k, v in task.items() if k not in ("id", "meta")} == {
        k: v for k, v in sent.items() if k != "id"
    }


async def test_all_of_a_referral_lies_in_its_member_s_bucket(store: Store) -> None:
    ids = written(await ask(store, posted(referral_bundle())))

    assert {bucket_of(kind, id_) for kind, id_ in ids.items()} == {bucket_of_key(CIN)}
    assert (await the_referral(store, ids["Task"])).bucket == bucket_of_key(CIN)


async def test_two_members_in_one_request_lie_each_in_her_own_bucket(store: Store) -> None:
    other = "91234567A"
    patient, request, task = (f"{name[:-2]}1{name[-1]}" for name in (PATIENT, REQUEST, TASK))
    theirs = {"focus": {"reference": request}, "for": {"reference": patient}}
    body = referral_bundle()
    body["entry"] += a_bundle(
        ("POST Patient", patient, a_patient(other)),
        ("POST ServiceRequest", request, a_service_request("R-2", subject=theirs["for"])),
        ("POST Task", task, a_task(**theirs)),
    )["entry"]

    await ask(store, posted(body))

    found = {r.cin: bucket_of("Referral", r.id) for r in await referrals(store)}
    assert found == {CIN: bucket_of_key(CIN), other: bucket_of_key(other)}


async def test_the_same_referral_may_be_posted_one_resource_after_the_other(store: Store) -> None:
    patient = await ask_one(store, a_patient())
    request = await ask_one(store, a_service_request(subject={"reference": f"Patient/{patient}"}))
    task = await ask_one(
        store,
        a_task(
            focus={"reference": f"https://bridge.example/fhir/ServiceRequest/{request}"},
            **{"for": {"reference": f"Patient/{patient}"}},
        ),
    )

    stored = await the_referral(store, task)
    assert stored.referral.cin == CIN
    assert resource_ids(stored).service_request == request
    theirs = await decide_and_assign(store, task)
    assert (await now(store, f"Task/{theirs}"))["for"] == {"reference": f"Patient/{patient}"}


async def test_a_task_that_names_its_request_alone_lies_with_its_member(
    store: Store, tmp_path: Path
) -> None:
    patient = await ask_one(store, a_patient())
    request = await ask_one(store, a_service_request(subject={"reference": f"Patient/{patient}"}))

    focus = {"reference": f"ServiceRequest/{request}"}
    task = await ask_one(store, a_task(focus=focus, **{"for": None}))

    stored = await the_referral(store, task)
    assert bucket_of("Task", task) == stored.bucket == bucket_of_key(CIN)
    await decide_and_assign(store, task)
    assert facts(await imported(store, a_file(tmp_path, [a_row(on="11/20/2026")]))) == (1, 0, 0, 0)


async def test_a_member_whose_number_is_made_out_later_is_found_by_her_files(
    store: Store, tmp_path: Path
) -> None:
    system = "https://plan.example/cin"
    patient = await ask_one(store, a_patient("", identifier=[{"system": system, "value": CIN}]))
    request = await ask_one(store, a_service_request(subject={"reference": f"Patient/{patient}"}))
    await register(store, [replace(PLAN, cin_system=system)])

    focus = {"reference": f"ServiceRequest/{request}"}
    task = await ask_one(store, a_task(focus=focus, **{"for": {"reference": f"Patient/{patient}"}}))

    assert (await the_referral(store, task)).bucket == bucket_of_key(CIN)
    await decide_and_assign(store, task)
    assert facts(await imported(store, a_file(tmp_path, [a_row(on="11/20/2026")]))) == (1, 0, 0, 0)


async def test_without_an_owner_a_stranger_s_referral_is_the_operator_s(store: Store) -> None:
    stranger = {"display": "Elm Clinic Example"}

    task = await refer(
        store,
        request=a_service_request(requester=stranger),
        task=a_task(owner=None, requester=stranger),
    )

    stored = await the_referral(store, task)
    assert stored.referral.plan == PLAN.party
    assert stored.referral.requester.name == "Elm Clinic Example"


async def test_an_update_that_names_the_plan_opens_the_referral(store: Store) -> None:
    stranger = {"display": "Elm Clinic Example"}
    request = a_service_request(requester=stranger)
    draft = a_task(status="draft", owner=stranger, requester=stranger)
    task = await refer(store, request=request, task=draft)
    resource = await now(store, f"Task/{task}")
    owned = {**resource, "status": "requested", "owner": {"reference": "Organization/plan"}}

    answered = await ask(store, put(owned, if_match=1))

    stored = await the_referral(store, task)
    assert answered.status == 200
    assert stored.referral.plan == PLAN.party
    assert [v["status"] for v in await versions(store, f"Task/{task}")] == ["draft", "requested"]
    theirs = await decide_and_assign(store, task)
    assert (await now(store, f"Task/{theirs}"))["status"] == "requested"
    assert (await now(store, f"Task/{task}"))["status"] == "in-progress"


async def test_a_draft_opens_nothing_until_it_is_requested(store: Store) -> None:
    task = await refer(store, task=a_task(status="draft"))
    before = len(await referrals(store))
    resource = await now(store, f"Task/{task}")

    await ask(store, put({**resource, "status": "requested"}))

    assert before == 0
    assert len(await referrals(store)) == 1


async def test_the_operator_speaks_for_a_requester_that_is_not_registered(store: Store) -> None:
    stranger = {"display": "Elm Clinic Example"}
    task = await refer(
        store,
        request=a_service_request(requester=stranger),
        task=a_task(status="draft", owner=None, requester=stranger),
    )
    resource = await now(store, f"Task/{task}")

    await ask(store, put({**resource, "status": "requested"}))

    assert (await now(store, f"Task/{task}"))["status"] == "requested"
    assert len(await referrals(store)) == 1


async def test_an_update_opens_no_referral_of_another_s_task(store: Store) -> None:
    stranger = {"display": "Elm Clinic Example"}
    draft = referral_bundle(task=a_task(status="draft", owner=stranger, requester=stranger))
    task = written(await ask(store, posted(draft, caller="clinic")))["Task"]
    resource = await now(store, f"Task/{task}")
    owned = {**resource, "owner": {"reference": "Organization/plan"}}

    with pytest.raises(RuleBroken) as refused:
        await ask(store, put(owned, caller="harbor"))

    assert refused.value.rule == "wrong-party"
    assert await referrals(store) == []


async def ask_one(store: Store, resource: Json, **how: Any) -> str:
    asked = Asked("POST", json.dumps(resource).encode(), type=resource["resourceType"], **how)
    answered = await ask(store, asked)
    assert answered.status == 201
    return str(json.loads(answered.body)["id"])


async def test_an_unregistered_requester_is_recorded_and_a_person_has_its_notices(
    store: Store,
) -> None:
    walk_in = {
        "identifier": {"system": canonical.NPI, "value": "1902000003"},
        "display": "Walk-in Example",
    }
    task = await refer(
        store, request=a_service_request(requester=walk_in), task=a_task(requester=walk_in)
    )

    await decide_and_assign(store, task)

    stored = await the_referral(store, task)
    told = await notices(store, stored)
    assert stored.referral.requester.name == "Walk-in Example"
    assert [(n.type, n.state, n.rule) for n in told] == [
        ("authorization-decided", "pending", "no-agreement"),
        ("provider-assigned", "pending", "no-agreement"),
    ]
    assert {(n.recipient, n.escalated_to, n.escalated_why) for n in told} == {
        ("npi:1902000003", "Rosa, referrals desk", "no-agreement")
    }
    assert all(n.escalated_at is not None for n in told)


@pytest.mark.parametrize(
    "requester",
    [{"reference": "Organization/nobody"}, {"display": "A neighbour"}],
    ids=["dangling", "display"],
)
async def test_a_requester_that_cannot_be_made_out_never_blocks_a_referral(
    store: Store, requester: Json
) -> None:
    task = await refer(
        store, request=a_service_request(requester=requester), task=a_task(requester=requester)
    )
    await decide_and_assign(store, task)

    told = await notices(store, await the_referral(store, task))
    assert {n.rule for n in told} == {"no-agreement"}
    assert len(told) == 2


async def test_a_self_referral_owes_nobody_a_notice(store: Store) -> None:
    task = await refer(
        store,
        request=a_service_request(requester={"reference": PATIENT}),
        task=a_task(requester={"reference": "Organization/plan"}),
    )
    await decide_and_assign(store, task)

    stored = await the_referral(store, task)
    assert stored.referral.self_referral
    assert await notices(store, stored) == []


async def test_an_unknown_owner_is_refused(store: Store) -> None:
    for owner in ({"display": "Somebody"}, {"reference": "Organization/nobody"}):
        with pytest.raises(ResourceRejected) as refused:
            await refer(store, task=a_task(owner=owner))
        assert refused.value.issues[0].rule == "owner-unknown"


async def test_an_owner_that_is_no_plan_is_refused(store: Store) -> None:
    with pytest.raises(ResourceRejected) as refused:
        await refer(store, task=a_task(owner={"reference": "Organization/harbor"}))

    assert refused.value.issues[0].rule == "owner-no-plan"


async def test_a_hub_that_acts_for_one_plan_may_own_the_task(store: Store) -> None:
    task = await refer(store, task=a_task(owner={"reference": "Organization/hub"}))

    assert (await the_referral(store, task)).referral.plan == PLAN.party


async def test_without_an_owner_the_operator_s_plan_has_it(store: Store) -> None:
    task = await refer(store, task=a_task(owner=None))

    assert (await the_referral(store, task)).referral.plan == PLAN.party


async def test_where_no_plan_can_be_made_out_the_referral_is_held(store: Store) -> None:
    body = posted(referral_bundle(task=a_task(owner=None)))

    ids = written(await ask(store, body, operator=""))

    stored = await the_referral(store, ids["Task"])
    assert stored.held == "plan-unknown"
    assert not stored.referral.plan.is_named


async def test_a_member_without_a_cin_is_held(store: Store) -> None:
    task = await refer(store, patient=a_patient(""))

    stored = await the_referral(store, task)
    assert (stored.held, stored.referral.cin) == ("member-unknown", "")


async def test_a_partner_s_own_system_for_the_cin_is_known(store: Store) -> None:
    system = "https://plan.example/cin"
    await register(store, [replace(PLAN, cin_system=system)])

    task = await refer(store, patient=a_patient("", identifier=[{"system": system, "value": CIN}]))

    assert (await the_referral(store, task)).referral.cin == CIN


async def test_where_neither_owner_nor_requester_is_known_it_is_stored_and_not_tracked(
    store: Store,
) -> None:
    stranger = {"display": "Somebody"}
    task = await refer(store, task=a_task(owner=stranger, requester=stranger))

    assert await referrals(store) == []
    assert (await now(store, f"Task/{task}"))["owner"] == stranger


async def test_received_is_kept_as_the_requested_it_means(store: Store) -> None:
    task = await refer(store, task=a_task(status="received"))

    theirs = await decide_and_assign(store, task)

    assert (await now(store, f"Task/{task}"))["status"] == "in-progress"
    assert (await now(store, f"Task/{theirs}"))["status"] == "requested"


@pytest.mark.parametrize(
    ("rule", "parts"),
    [
        ("unknown-service", {"request": a_service_request(service="no-such-service")}),
        ("cin-form", {"patient": a_patient("12")}),
        ("rules-element", {"task": a_task(output=decided_output())}),
        ("rules-element", {"task": a_task(output=assigned_output())}),
        ("rules-element", {"task": a_task(businessStatus=said("accepted"))}),
        ("task-transition", {"task": a_task(status="accepted")}),
        ("future-date", {"request": a_service_request(authoredOn="2026-11-22")}),
        (
            "dangling-reference",
            {"request": a_service_request(insurance=[{"reference": "Coverage/none"}])},
        ),
        ("dangling-reference", {"task": a_task(focus={"reference": "ServiceRequest/none"})}),
        (
            "unknown-population",
            {
                "request": a_service_request(
                    extension=[
                        {"url": canonical.POPULATION_OF_FOCUS_EXTENSION, "valueCode": "everyone"}
                    ]
                )
            },
        ),
    ],
)
async def test_what_cannot_be_understood_is_refused_and_nothing_is_stored(
    store: Store, rule: str, parts: dict[str, Any]
) -> None:
    before = await counts(store)

    with pytest.raises(Rejected) as refused:
        await refer(store, **parts)

    assert rule in {issue.rule for issue in refused.value.issues}
    assert await counts(store) == before


async def test_a_task_for_another_person_than_its_request_is_refused(store: Store) -> None:
    other = "urn:uuid:7d0d2e0a-0000-4000-8000-000000000009"
    body = referral_bundle(task=a_task(**{"for": {"reference": other}}))
    body["entry"] += a_bundle(("POST Patient", other, a_patient("91234567A")))["entry"]

    with pytest.raises(ResourceRejected) as refused:
        await ask(store, posted(body))

    assert [issue.rule for issue in refused.value.issues] == ["another-person"]


async def test_a_billing_code_with_its_modifier_names_the_service(store: Store) -> None:
    coding = {
        "system": canonical.HCPCS,
        "code": "H0044",
        "extension": [{"url": canonical.HCPCS_MODIFIER_EXTENSION, "valueCode": "U2"}],
    }
    task = await refer(store, request=a_service_request(code={"coding": [coding]}))

    assert (await the_referral(store, task)).referral.service == "housing-deposits"


async def test_a_replacing_referral_has_the_clr_id_of_the_first(store: Store) -> None:
    first = await refer(store, "R-1")
    await plan_decides(store, first, "denied", extension=because("Criteria are not met"))
    stored = await the_referral(store, first)

    request = resource_ids(stored).service_request
    again = await refer(
        store,
        request=a_service_request("R-2", replaces=[{"reference": f"ServiceRequest/{request}"}]),
    )

    assert (await the_referral(store, again)).referral.clr_id == stored.referral.clr_id


async def test_a_group_of_another_system_is_the_client_s_own(store: Store) -> None:
    group = {"system": "https://ehr.example/group", "value": "G-1"}
    task = await refer(store, task=a_task(groupIdentifier=group))

    stored = await the_referral(store, task)
    assert stored.referral.clr_id == stored.referral.id
    assert (await now(store, f"Task/{task}"))["groupIdentifier"] == group


async def test_a_caller_refers_for_itself_or_for_those_it_acts_for(store: Store) -> None:
    with pytest.raises(RuleBroken) as refused:
        await ask(store, posted(referral_bundle(), caller="harbor"))
    assert refused.value.rule == "wrong-party"

    by_itself = await ask(store, posted(referral_bundle(), caller="clinic"))
    assert by_itself.status == 200


async def test_a_second_referral_is_told_separately_and_its_referrer_learns_of_no_other(
    store: Store,
) -> None:
    county = a_partner("county", kind="referring-entity", agreement=CLINIC.agreement)
    await register(store, [county])
    first = await refer(store, "R-1")
    own = {"reference": "Organization/county"}
    second = await refer(
        store,
        request=a_service_request("C-9", requester=own),
        task=a_task(requester=own),
    )

    await decide_and_assign(store, first)
    await decide_and_assign(store, second)

    one, other = await the_referral(store, first), await the_referral(store, second)
    assert [e.flags for e in (await events(store, one))[:1]] == [()]
    assert [e.flags for e in (await events(store, other))[:1]] == [("second-referral",)]
    assert {n.recipient for n in await notices(store, one)} == {"clinic"}
    assert {n.recipient for n in await notices(store, other)} == {"county"}
    assert one.referral.clr_id not in str(await now(store, f"Task/{second}"))


async def test_of_two_that_refer_one_member_at_once_the_second_is_known_as_such(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = has_open

    def slowly(conn: Connection, cin: str, service: str) -> bool:
        found = real(conn, cin, service)
        if conn.dialect.name == "postgresql":  # SQLite has one writer
            conn.exec_driver_sql("select pg_sleep(0.3)")
        return found

    monkeypatch.setattr(record_referral, "has_open", slowly)
    own = {"reference": "Organization/harbor"}

    tasks = await asyncio.gather(
        refer(store),
        refer(store, request=a_service_request(requester=own), task=a_task(requester=own)),
    )

    first = [(await events(store, await the_referral(store, task)))[0].flags for task in tasks]
    assert sorted(first) == [(), ("second-referral",)]


async def test_two_referrals_of_one_member_may_come_in_one_request(store: Store) -> None:
    request2, task2 = REQUEST.replace("0002", "0022"), TASK.replace("0003", "0033")
    body = referral_bundle()
    body["entry"] += a_bundle(
        ("POST ServiceRequest", request2, a_service_request("R-2", "housing-deposits")),
        ("POST Task", task2, a_task(focus={"reference": request2})),
    )["entry"]

    await ask(store, posted(body))

    assert sorted(r.service for r in await referrals(store)) == ["ecm", "housing-deposits"]


async def test_safety_wishes_travel_to_the_provider_s_request(store: Store) -> None:
    wish = [{"text": "Do not contact the person"}]
    task = await refer(store, request=a_service_request(orderDetail=wish))
    await decide_and_assign(store, task)

    theirs = resource_ids(await the_referral(store, task)).assignments[0].service_request
    request = await now(store, f"ServiceRequest/{theirs}")
    assert request["orderDetail"] == wish
    assert request["intent"] == "filler-order"
    assert request["basedOn"][0]["reference"].startswith("ServiceRequest/")


def test_the_partners_of_these_tests_are_who_they_say() -> None:
    assert {p.kind for p in PARTNERS} == {
        "managed-care-plan",
        "referring-entity",
        "provider",
        "hub",
    }
    assert HARBOR.id in HUB.acts_for
