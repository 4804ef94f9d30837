"""A referral taken back or amended by who sent it, and what becomes of the providers' copies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.builders import (
    CIN,
    CLINIC,
    NOW,
    a_partner,
    a_patient,
    a_service_request,
    a_task,
    put,
    register,
)
from tests.stored_loops import (
    ask,
    counts,
    decide_and_assign,
    events,
    notices,
    now,
    provider_says,
    refer,
    the_referral,
    versions,
)

from fhir_hub_bridge.errors import RuleBroken
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.intake.record_referral import resource_ids
from fhir_hub_bridge.mapping.codings import code_in
from fhir_hub_bridge.referral.model import EventKind
from fhir_hub_bridge.store.transaction import Store

LATER = NOW + timedelta(hours=1)
NURSE = {"display": "A school nurse"}


@pytest.fixture(autouse=True)
async def _partners(store: Store) -> None:
    await register(store)


async def amend(store: Store, task: str, caller: str = "clinic", **changes: Any) -> str:
    """Who sent SR1 puts it back changed; the id of SR1."""
    sr1 = resource_ids(await the_referral(store, task)).service_request
    body = {**await now(store, f"ServiceRequest/{sr1}"), **changes}
    await ask(store, put(body, caller=caller), now=LATER)
    return sr1


async def test_a_referrer_takes_its_referral_back(store: Store) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    await provider_says(store, theirs, status="accepted")

    await provider_says(
        store, task, caller="clinic", status="cancelled", statusReason={"text": "She moved"}
    )

    stored = await the_referral(store, task)
    task1, task2 = await now(store, f"Task/{task}"), await now(store, f"Task/{theirs}")
    sr2 = resource_ids(stored).assignments[0].service_request
    assert stored.referral.closure is not None
    assert stored.referral.closure.text == "She moved"
    assert (task1["status"], task2["status"]) == ("cancelled", "cancelled")
    assert code_in(task1["statusReason"], canonical.CLOSURE_REASON) == "referral-withdrawn"
    assert code_in(task1["businessStatus"], canonical.REFERRAL_STATUS) == "loop-closed"
    assert (await now(store, f"ServiceRequest/{sr2}"))["status"] == "revoked"
    assert stored.referral.decision is not None
    assert stored.referral.decision.status == "approved"
    assert [n.type for n in await notices(store, stored)][-1] == "loop-closed"
    assert (await events(store, stored))[-2].kind is EventKind.REFERRAL_WITHDRAWN


async def test_the_same_cancellation_again_changes_nothing(store: Store) -> None:
    task = await refer(store)
    cancelled = {**await now(store, f"Task/{task}"), "status": "cancelled"}
    del cancelled["meta"]
    await ask(store, put(cancelled, caller="clinic"))
    before = await counts(store)

    await ask(store, put(cancelled, caller="clinic"))

    after = await counts(store)
    assert after["referral_event"] == before["referral_event"]
    assert after["notice"] == before["notice"]


async def test_a_hub_that_operates_takes_back_for_who_has_no_client(store: Store) -> None:
    await register(store, [a_partner("desk", kind="hub")])
    request = a_service_request(requester=NURSE)
    task = await refer(store, request=request, task=a_task(requester=NURSE))
    body = {**await now(store, f"Task/{task}"), "status": "cancelled"}

    await ask(store, put(body), operator="desk")

    stored = await the_referral(store, task)
    assert stored.referral.closure is not None
    assert stored.referral.closure.reason == "referral-withdrawn"
    assert (await events(store, stored))[-2].told.by.name == "A school nurse"


async def test_the_plan_still_needs_a_reason_to_cancel(store: Store) -> None:
    task = await refer(store)

    with pytest.raises(RuleBroken) as refused:
        await provider_says(store, task, caller="plan", status="cancelled")

    assert refused.value.rule == "closure-needs-reason"


async def test_an_amended_request_travels_to_the_provider_s_copy(store: Store) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    copies = resource_ids(await the_referral(store, task)).assignments[0]
    before = await now(store, f"ServiceRequest/{copies.service_request}")

    sr1 = await amend(
        store, task, priority="urgent", note=[{"text": "Ring twice"}], patientInstruction="Bring ID"
    )

    after = await now(store, f"ServiceRequest/{copies.service_request}")
    assert (await now(store, f"ServiceRequest/{sr1}"))["meta"]["versionId"] == "2"
    assert (after["priority"], after["note"]) == ("urgent", [{"text": "Ring twice"}])
    for own in ("identifier", "basedOn", "performer", "requester", "authoredOn", "status"):
        assert after[own] == before[own]
    assert after["intent"] == "filler-order"
    assert after["meta"]["versionId"] == "2"
    assert (await now(store, f"Task/{theirs}"))["meta"]["versionId"] == "2"
    last = (await events(store, await the_referral(store, task)))[-1]
    assert last.act is not None
    assert last.kind is EventKind.REFERRAL_AMENDED
    assert last.told.by.partner == CLINIC.id


async def test_what_is_taken_out_of_a_request_leaves_the_copy_too(store: Store) -> None:
    task = await refer(store, request=a_service_request(priority="urgent"))
    await decide_and_assign(store, task)
    stored = await the_referral(store, task)
    sr1 = await now(store, f"ServiceRequest/{resource_ids(stored).service_request}")

    without = {k: v for k, v in sr1.items() if k != "priority"}
    await ask(store, put(without, caller="clinic"))

    copy = resource_ids(stored).assignments[0].service_request
    assert "priority" not in await now(store, f"ServiceRequest/{copy}")


async def test_an_ended_copy_stays_as_it_ended(store: Store) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    await provider_says(store, theirs, status="rejected")
    second = await decide_and_assign(store, task, "hearth")

    await amend(store, task, priority="urgent")

    assert len(await versions(store, f"Task/{theirs}")) == 2
    assert len(await versions(store, f"Task/{second}")) == 2


async def test_a_new_telephone_number_is_an_amendment(store: Store) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    stored = await the_referral(store, task)
    patient = await now(store, f"Patient/{resource_ids(stored).patient}")

    moved = {**patient, "telecom": [{"system": "phone", "value": "555-0100"}]}
    await ask(store, put(moved, caller="clinic"), now=LATER)

    assert len(await versions(store, f"Patient/{resource_ids(stored).patient}")) == 2
    assert len(await versions(store, f"Task/{theirs}")) == 2
    assert (await events(store, stored))[-1].kind is EventKind.REFERRAL_AMENDED


async def test_a_revoked_request_takes_the_referral_back(store: Store) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)

    sr1 = await amend(store, task, status="revoked")

    stored = await the_referral(store, task)
    assert stored.referral.closure is not None
    assert stored.referral.closure.reason == "referral-withdrawn"
    assert (await now(store, f"Task/{theirs}"))["status"] == "cancelled"
    assert (await now(store, f"ServiceRequest/{sr1}"))["status"] == "revoked"


@pytest.mark.parametrize(
    ("known", "told", "is_taken"),
    [
        (CIN, "91234567A", False),
        (CIN, "", False),
        (CIN, CIN.lower(), True),
        ("", CIN, True),
    ],
    ids=["changed", "taken away", "written otherwise", "added"],
)
async def test_nobody_becomes_another_person(
    store: Store, known: str, told: str, is_taken: bool
) -> None:
    task = await refer(store, patient=a_patient(known))
    id_ = resource_ids(await the_referral(store, task)).patient
    asked = put({**a_patient(told, birthDate="1980-01-01"), "id": id_}, caller="clinic")

    if is_taken:
        await ask(store, asked)
    else:
        with pytest.raises(RuleBroken) as refused:
            await ask(store, asked)
        assert refused.value.rule == "another-person"

    assert ("birthDate" in await now(store, f"Patient/{id_}")) is is_taken


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": {"reference": "Patient/another"}},
        {"requester": {"reference": "Organization/hub"}},
        {"intent": "plan"},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_person_and_referrer_do_not_change(store: Store, changes: dict[str, Any]) -> None:
    task = await refer(store)
    before = await counts(store)

    with pytest.raises(RuleBroken) as refused:
        await amend(store, task, **changes)

    assert refused.value.rule == "fixed-element"
    assert await counts(store) == before


async def test_nobody_but_its_sender_amends_a_request(store: Store) -> None:
    task = await refer(store)

    with pytest.raises(RuleBroken) as refused:
        await amend(store, task, caller="harbor", priority="urgent")

    assert refused.value.rule == "wrong-party"


async def test_after_the_closure_a_request_is_stored_as_sent(store: Store) -> None:
    task = await refer(store)
    await provider_says(store, task, caller="clinic", status="cancelled")
    before = await events(store, await the_referral(store, task))

    sr1 = await amend(store, task, status="completed")

    assert (await now(store, f"ServiceRequest/{sr1}"))["status"] == "completed"
    assert await events(store, await the_referral(store, task)) == before
