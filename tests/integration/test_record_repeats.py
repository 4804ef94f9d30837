"""The same again: how it is known, what is answered, and that nothing is stored twice."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection, select
from tests.builders import (
    NOW,
    REQUEST,
    TASK,
    a_bundle,
    a_partner,
    a_patient,
    a_service_request,
    a_task,
    assigned_output,
    decided_output,
    posted,
    put,
    referral_bundle,
    register,
    said,
)
from tests.stored_loops import (
    ask,
    counts,
    decide_and_assign,
    notices,
    now,
    plan_decides,
    refer,
    referrals,
    the_referral,
    versions,
    written,
)

from fhir_hub_bridge.errors import Conflict, ResourceRejected, RuleBroken, VersionConflict
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.intake.receive_fhir import Asked
from fhir_hub_bridge.store.tables import answered_request
from fhir_hub_bridge.store.transaction import Store

DAY = timedelta(days=1)
ANOTHER_BODY = {"priority": "urgent"}


@pytest.fixture(autouse=True)
async def _partners(store: Store) -> None:
    await register(store)


async def test_same_requester_and_identifier_get_the_first_answer_for_ever(store: Store) -> None:
    first = await ask(store, posted(referral_bundle("R-1")))
    before = await counts(store)

    again = await ask(
        store,
        posted(referral_bundle("R-1", task=a_task(**ANOTHER_BODY))),
        now=NOW + 365 * DAY,
    )

    assert again == first
    assert await counts(store) == before


async def test_one_identifier_in_common_is_enough(store: Store) -> None:
    numbers = [{"system": "https://ehr.example/order", "value": "O-7"}]
    own = a_service_request("R-1")["identifier"]
    both = a_service_request(identifier=[*numbers, *own])

    first = await ask(store, posted(referral_bundle(request=both)))
    again = await ask(store, posted(referral_bundle(request=a_service_request("R-1"))))

    assert again == first


async def test_the_same_identifier_of_another_requester_is_another_referral(store: Store) -> None:
    await refer(store, "R-1")

    other = {"reference": "Organization/harbor"}
    await refer(store, request=a_service_request(requester=other), task=a_task(requester=other))

    assert len(await referrals(store)) == 2


async def test_without_an_identifier_the_client_s_key_tells(store: Store) -> None:
    nameless = a_service_request("")

    task = await ask(store, posted(referral_bundle(request=nameless), key="k-1"))
    resource = await now(store, f"Task/{written(task)['Task']}")
    noted = replace(put({**resource, "description": "Call first"}), idempotency_key="k-2")

    first = await ask(store, noted)
    await ask(store, put({**resource, "description": "Call last"}))
    again = await ask(store, noted)

    assert again == first
    assert (await now(store, f"Task/{resource['id']}"))["description"] == "Call last"


@pytest.mark.parametrize("other", [a_task(**ANOTHER_BODY), a_task(priority="asap")])
async def test_a_key_that_comes_again_with_another_body_is_refused(
    store: Store, other: Json
) -> None:
    nameless = a_service_request("")
    await ask(store, posted(referral_bundle(request=nameless), key="k-1"))
    before = await counts(store)

    with pytest.raises(RuleBroken) as refused:
        await ask(store, posted(referral_bundle(request=nameless, task=other), key="k-1"))

    assert refused.value.rule == "idempotency-key"
    assert await counts(store) == before


async def test_a_key_is_good_for_one_interaction(store: Store) -> None:
    organization = {"resourceType": "Organization", "name": "Made-up House"}
    one, other = (
        Asked("POST", json.dumps(body).encode(), type=str(body["resourceType"]))
        for body in (a_patient(), organization)
    )

    await ask(store, replace(one, idempotency_key="k-1"))
    answered = await ask(store, replace(other, idempotency_key="k-1"))

    assert json.loads(answered.body)["resourceType"] == "Organization"


async def test_a_requester_that_is_registered_later_gets_its_first_answer(store: Store) -> None:
    later = a_partner("later", kind="referring-entity", npi="1902000003", tin="555555555")
    for number, (system, value) in enumerate(
        [(canonical.NPI, later.npi), (canonical.TIN, later.tin)]
    ):
        who = {"identifier": {"system": system, "value": value}}
        request = a_service_request(f"L-{number}", requester=who)
        unknown = a_partner("later", kind="referring-entity")  # not recognised yet
        await register(store, [unknown])
        task = a_task(requester=who)
        first = await ask(store, posted(referral_bundle(request=request, task=task)))

        await register(store, [later])
        again = await ask(
            store,
            posted(referral_bundle(request=request, task={**task, **ANOTHER_BODY})),
        )
        own = {"reference": "Organization/later"}
        request = a_service_request(f"L-{number}", requester=own)
        by_id = await ask(
            store, posted(referral_bundle(request=request, task=a_task(requester=own)))
        )

        assert again == by_id == first


async def test_a_tin_that_partners_share_makes_no_two_referrals_one(store: Store) -> None:
    sites = [a_partner(id_, kind="referring-entity", tin="555555555") for id_ in ("north", "south")]
    await register(store, sites)

    for site in sites:
        own = {"reference": f"Organization/{site.id}"}
        await refer(store, request=a_service_request(requester=own), task=a_task(requester=own))

    assert len(await referrals(store)) == 2


async def test_a_referral_known_by_another_task_is_no_update_of_this_one(store: Store) -> None:
    stranger = {"display": "Somebody"}
    draft = await refer(store, task=a_task(status="draft", owner=stranger, requester=stranger))
    await refer(store)
    resource = await now(store, f"Task/{draft}")
    plan = {"reference": "Organization/plan"}
    clinic = {"reference": "Organization/clinic"}

    with pytest.raises(Conflict):
        await ask(
            store, put({**resource, "status": "requested", "owner": plan, "requester": clinic})
        )

    assert len(await referrals(store)) == 1


async def test_what_counts_no_longer_is_dropped(store: Store) -> None:
    nameless = posted(referral_bundle(request=a_service_request("")), key="k-1")
    await ask(store, nameless)

    await ask(store, nameless, now=NOW + 8 * DAY)
    await refer(store, "R-1")

    def lasting(conn: Connection) -> list[tuple[bool, str]]:
        query = select(answered_request.c.expires_at, answered_request.c.key)
        return sorted((until is None, key.split(":")[0]) for until, key in conn.execute(query))

    kept = await store.read(lasting)
    assert [key for forever, key in kept if not forever] == ["digest", "digest", "key"]
    assert {key for forever, key in kept if forever} == {"referral"}


async def test_a_key_used_twice_loses_no_referral_that_has_a_name(store: Store) -> None:
    await ask(store, posted(referral_bundle("R-1"), key="k-1"))

    await ask(store, posted(referral_bundle("R-2"), key="k-1"))

    assert len(await referrals(store)) == 2


async def test_the_same_body_counts_for_seven_days_and_not_after(store: Store) -> None:
    nameless = posted(referral_bundle(request=a_service_request("")))

    first = await ask(store, nameless)
    within = await ask(store, nameless, now=NOW + 7 * DAY)
    after = await ask(store, nameless, now=NOW + 7 * DAY + timedelta(seconds=1))

    assert within == first
    assert after != first
    assert len(await referrals(store)) == 2


async def test_the_same_body_of_another_client_is_another_request(store: Store) -> None:
    asked = Asked("POST", json.dumps(a_patient()).encode(), type="Patient", caller="clinic")

    first = await ask(store, asked)
    other = await ask(store, replace(asked, caller="harbor"))

    assert other.headers["Location"] != first.headers["Location"]


async def test_an_update_whose_answer_was_lost_gets_it_by_its_version(store: Store) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    resource = await now(store, f"Task/{theirs}")
    accept = put({**resource, "status": "accepted"}, caller="harbor", if_match=1)

    first = await ask(store, accept)
    again = await ask(store, accept)

    assert again == first
    assert len(await versions(store, f"Task/{theirs}")) == 2
    with pytest.raises(VersionConflict):
        await ask(store, put({**resource, "status": "rejected"}, caller="harbor", if_match=1))


@pytest.mark.parametrize("bundled", [False, True], ids=["alone", "bundled"])
async def test_an_update_that_is_right_again_is_done_again(store: Store, bundled: bool) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    resource = {k: v for k, v in (await now(store, f"Task/{theirs}")).items() if k != "meta"}

    for status in ("accepted", "in-progress", "on-hold", "in-progress"):
        # each body as a client that keeps no version would write it
        spoken = {"businessStatus": said("outreach-initiated")} if status != "accepted" else {}
        body = {**resource, **spoken, "status": status}
        alone, in_bundle = put(body, caller="harbor"), a_bundle((f"PUT Task/{theirs}", "", body))
        await ask(store, posted(in_bundle, caller="harbor") if bundled else alone)

    assert (await now(store, f"Task/{theirs}"))["status"] == "in-progress"


async def test_the_plan_s_acts_twice_make_one_version_and_one_notice_each(store: Store) -> None:
    task = await refer(store)
    resource = await now(store, f"Task/{task}")
    body = {**resource, "output": [*decided_output(), *assigned_output()]}
    act = posted(a_bundle((f"PUT Task/{task}", "", body, 'W/"1"')), caller="plan")

    first = await ask(store, act)
    again = await ask(store, act)

    told = await notices(store, await the_referral(store, task))
    assert again == first
    assert [n.type for n in told] == ["authorization-decided", "provider-assigned"]


async def test_the_same_decision_with_another_body_makes_no_event(store: Store) -> None:
    task = await refer(store)
    await plan_decides(store, task, "approved")
    before = await the_referral(store, task)

    await plan_decides(store, task, "approved")

    after = await the_referral(store, task)
    assert (after.referral, after.events) == (before.referral, before.events)
    assert len(await notices(store, after)) == 1
    assert len((await now(store, f"Task/{task}"))["output"]) == 2


async def test_two_tasks_for_one_referral_are_refused(store: Store) -> None:
    body = referral_bundle()
    second = TASK.replace("0003", "0004")
    body["entry"] += a_bundle(("POST Task", second, a_task()))["entry"]

    with pytest.raises(ResourceRejected) as refused:
        await ask(store, posted(body))

    assert [issue.rule for issue in refused.value.issues] == ["duplicate-referral"]
    assert await referrals(store) == []


async def test_a_known_referral_among_new_ones_is_a_conflict_and_stores_nothing(
    store: Store,
) -> None:
    await refer(store, "R-1")
    body = referral_bundle("R-1")
    request, task = REQUEST.replace("0002", "0022"), TASK.replace("0003", "0033")
    body["entry"] += a_bundle(
        ("POST ServiceRequest", request, a_service_request("R-2", "housing-deposits")),
        ("POST Task", task, a_task(focus={"reference": request})),
    )["entry"]
    before = await counts(store)

    with pytest.raises(Conflict):
        await ask(store, posted(body))

    assert await counts(store) == before


async def test_a_referral_known_by_another_interaction_is_a_conflict(store: Store) -> None:
    ids = written(await ask(store, posted(referral_bundle("R-1"))))
    alone = a_task(
        focus={"reference": f"ServiceRequest/{ids['ServiceRequest']}"},
        **{"for": {"reference": f"Patient/{ids['Patient']}"}},
    )

    with pytest.raises(Conflict):
        await ask(store, Asked("POST", json.dumps(alone).encode(), type="Task"))

    assert len(await referrals(store)) == 1


async def test_of_the_same_posts_at_once_one_is_stored_and_all_get_its_answer(
    store: Store,
) -> None:
    bodies = [referral_bundle("R-1", task=a_task(description=f"copy {n}")) for n in range(6)]

    answers = await asyncio.gather(*(ask(store, posted(body)) for body in bodies))

    assert len({answer.body for answer in answers}) == 1
    assert len(await referrals(store)) == 1


async def test_of_the_same_keys_at_once_one_is_stored(store: Store) -> None:
    nameless = a_service_request("")
    bodies = [
        referral_bundle(request=nameless, task=a_task(description=f"copy {n}")) for n in range(4)
    ]

    answers = await asyncio.gather(
        *(ask(store, posted(body, key="k-1")) for body in bodies), return_exceptions=True
    )

    assert sum(isinstance(answer, RuleBroken) for answer in answers) == 3
    assert len(await referrals(store)) == 1
