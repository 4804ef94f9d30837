"""A provider with a server or folder of its own is sent its copy, and each change of it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, select, update
from tests.builders import (
    CIN,
    CLINIC,
    HARBOR,
    HEARTH,
    NOW,
    a_patient,
    a_service_request,
    an_agreement,
    put,
    reason,
    register,
    said,
)
from tests.stored_loops import (
    ask,
    decide_and_assign,
    notices,
    now,
    plan_decides,
    provider_says,
    refer,
    the_referral,
)

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json, parse_json
from fhir_hub_bridge.intake.record_referral import resource_ids
from fhir_hub_bridge.store.console_queries import overview, story
from fhir_hub_bridge.store.notice_records import NoticeRecord, count_notices, notices_of
from fhir_hub_bridge.store.tables import notice
from fhir_hub_bridge.store.transaction import Store

SERVER = an_agreement(endpoint="https://harbor.example/fhir")
LATER = NOW + timedelta(hours=1)


@pytest.fixture(autouse=True)
async def _partners(store: Store) -> None:
    await register(store)
    await register(store, [replace(HARBOR, agreement=SERVER)])


async def copies(store: Store, task: str) -> list[NoticeRecord]:
    stored = await the_referral(store, task)
    return await store.read(notices_of, stored.referral.id, copies=True)


def _bodies(conn: Connection) -> list[bytes]:
    query = select(notice.c.message).where(notice.c.type == "referral-copy")
    return [bytes(b) for b in conn.execute(query.order_by(notice.c.lane)).scalars()]


def _all_notices_told(conn: Connection) -> None:
    told = update(notice).where(notice.c.type != "referral-copy").values(state="confirmed")
    conn.execute(told)


def _copies_due_first(conn: Connection) -> None:
    copies_ = update(notice).where(notice.c.type == "referral-copy")
    conn.execute(copies_.values(due_at=1, escalated_to="somebody"))


async def bundles(store: Store) -> list[dict[str, Json]]:
    """What goes out, by resource type."""
    found = [parse_json(body) for body in await store.read(_bodies)]
    return [{e["resource"]["resourceType"]: e["resource"] for e in b["entry"]} for b in found]


async def sent_sr1(store: Store, task: str, **changes: Any) -> None:
    sr1 = resource_ids(await the_referral(store, task)).service_request
    body = {**await now(store, f"ServiceRequest/{sr1}"), **changes}
    await ask(store, put(body, caller="clinic"), now=LATER)


async def test_an_assignment_owes_the_provider_its_copy(store: Store) -> None:
    task = await refer(store, request=a_service_request(note=[{"text": "Ring twice"}]))
    theirs = await decide_and_assign(store, task)

    (owed,) = await copies(store, task)
    (body,) = [parse_json(b) for b in await store.read(_bodies)]

    ids = resource_ids(await the_referral(store, task))
    sr2 = ids.assignments[0].service_request
    assert (owed.recipient, owed.method, owed.state) == ("harbor", "fhir-push", "pending")
    assert (owed.communication_id, owed.rule) == ("", "")
    assert [e["request"]["url"] for e in body["entry"]] == [
        f"Patient?identifier={canonical.PATIENT_ID}|{ids.patient}",
        f"ServiceRequest?identifier={canonical.REFERRAL_ID}|{sr2}",
        f"Task?identifier={canonical.REFERRAL_ID}|{theirs}",
    ]
    person, request, doing = (entry["resource"] for entry in body["entry"])
    names = [entry["fullUrl"] for entry in body["entry"]]
    assert request["subject"] == doing["for"] == {"reference": names[0]}
    assert doing["focus"] == {"reference": names[1]}
    assert doing["partOf"] == [{"reference": f"https://bridge.example/fhir/Task/{task}"}]
    assert (doing["status"], request["intent"]) == ("requested", "filler-order")
    assert person["name"][0]["family"] == "Madeup"
    assert {i["value"] for i in person["identifier"]} == {CIN, ids.patient}
    assert request["note"] == [{"text": "Ring twice"}]
    assert doing["owner"]["identifier"]["value"] == HARBOR.npi


async def test_a_copy_holds_nothing_that_is_not_on_the_list(store: Store) -> None:
    patient = a_patient(
        generalPractitioner=[{"display": "GPCANARY"}],
        identifier=[
            {"system": canonical.MEDI_CAL_CIN, "value": CIN},
            {"system": "https://ehr.example/mrn", "value": "MRNCANARY"},
        ],
    )
    request = a_service_request(
        locationCode=[{"text": "LOCCANARY"}],
        identifier=[{"system": "https://ehr.example/referral", "value": "IDCANARY"}],
    )
    task = await refer(store, patient=patient, request=request)
    await decide_and_assign(store, task)

    (body,) = await store.read(_bodies)

    assert b"CANARY" not in body
    for own in (CLINIC.name, CLINIC.npi):  # who referred is not the provider's to know
        assert own.encode() not in body


async def test_the_provider_sees_what_it_bills_under(store: Store) -> None:
    task = await refer(store)
    period = {"start": "2026-11-10", "end": "2027-05-09"}
    await plan_decides(store, task, "approved", assign="harbor", preAuthPeriod=period)

    (copy,) = await bundles(store)

    assert [i.get("valueString") or i.get("valuePeriod") for i in copy["Task"]["input"]] == [
        "A-1",
        period,
    ]


async def test_copies_are_no_notices(store: Store) -> None:
    task = await refer(store)
    await decide_and_assign(store, task)
    stored = await the_referral(store, task)

    owed = await notices(store, stored)
    counted = await store.read(count_notices, now=NOW)
    copied = await store.read(count_notices, now=NOW, copies=True)
    seen = await store.read_snapshot(overview, now=NOW, limit=5)
    told = await store.read_snapshot(story, stored.referral.id)

    assert {n.type for n in owed} == {"authorization-decided", "provider-assigned"}
    assert (counted.owed, copied.owed) == (2, 1)
    assert (seen.notices.owed, seen.copies.owed) == (2, 1)
    assert (len(told.notices), len(told.copies)) == (2, 1)


async def test_a_loop_whose_referrer_is_told_is_done_with_while_a_copy_is_on_its_way(
    store: Store,
) -> None:
    other = await refer(store, "R-1")
    await decide_and_assign(store, other)
    await provider_says(store, other, caller="clinic", status="cancelled")
    await store.write(_all_notices_told)

    seen = await store.read_snapshot(overview, now=NOW, limit=5)

    assert seen.copies.pending == 2
    assert (seen.listed, seen.loops) == (0, ())


async def test_what_is_due_next_of_a_loop_is_a_notice(store: Store) -> None:
    task = await refer(store)
    await decide_and_assign(store, task)
    await store.write(_copies_due_first)

    (loop,) = (await store.read_snapshot(overview, now=NOW, limit=5)).loops

    first = min(await notices(store, await the_referral(store, task)), key=lambda n: n.due_at)
    assert (loop.due_at, loop.due_type, loop.escalated_to) == (first.due_at, first.type, "")


async def test_an_amendment_goes_out_and_leaves_the_task_to_the_provider(store: Store) -> None:
    task = await refer(store)
    await decide_and_assign(store, task)

    await sent_sr1(store, task, priority="urgent")

    _, amended = await bundles(store)
    assert set(amended) == {"Patient", "ServiceRequest"}
    assert amended["ServiceRequest"]["priority"] == "urgent"


async def test_the_plan_s_word_on_a_part_that_goes_on_leaves_the_task_to_the_provider(
    store: Store,
) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)

    await provider_says(store, theirs, caller="plan", status="accepted")

    _, again = await bundles(store)
    assert set(again) == {"Patient", "ServiceRequest"}


async def test_a_new_telephone_number_goes_out(store: Store) -> None:
    task = await refer(store)
    await decide_and_assign(store, task)
    patient = resource_ids(await the_referral(store, task)).patient
    phone = [{"system": "phone", "value": "555-0100"}]
    body = {**await now(store, f"Patient/{patient}"), "telecom": phone}

    await ask(store, put(body, caller="clinic"), now=LATER)

    assert (await bundles(store))[1]["Patient"]["telecom"] == phone


async def test_who_was_assigned_before_it_had_a_server_gets_all_with_the_first_change(
    store: Store,
) -> None:
    await register(store, [HARBOR])
    task = await refer(store)
    await decide_and_assign(store, task)
    await register(store, [replace(HARBOR, agreement=SERVER)])

    await sent_sr1(store, task, priority="urgent")

    (copy,) = await bundles(store)
    assert set(copy) == {"Patient", "ServiceRequest", "Task"}


async def test_a_withdrawal_reaches_the_provider(store: Store) -> None:
    task = await refer(store)
    await decide_and_assign(store, task)

    await provider_says(store, task, caller="clinic", status="cancelled")

    _, ended = await bundles(store)
    assert (ended["Task"]["status"], ended["ServiceRequest"]["status"]) == ("cancelled", "revoked")
    assert ended["Task"]["statusReason"] == {"text": "Referral Withdrawn"}


async def test_a_reassignment_ends_the_first_copy_and_begins_the_second(store: Store) -> None:
    await register(store, [replace(HEARTH, agreement=SERVER)])
    task = await refer(store)
    await decide_and_assign(store, task)

    await decide_and_assign(store, task, "hearth")

    owed = await copies(store, task)
    assert [c.recipient for c in owed] == ["harbor", "harbor", "hearth"]
    _, ended, begun = await bundles(store)
    assert ended["Task"]["status"] == "cancelled"
    assert ended["Task"]["statusReason"] == {"text": "Assigned to another provider"}
    assert begun["Task"]["status"] == "requested"


async def test_what_a_provider_says_is_not_told_to_it(store: Store) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)

    await provider_says(store, theirs, status="accepted")
    await provider_says(
        store, theirs, status="in-progress", businessStatus=said("outreach-initiated")
    )

    assert len(await copies(store, task)) == 1


async def test_the_plan_s_word_on_a_provider_s_part_goes_out_without_its_codes(
    store: Store,
) -> None:
    task = await refer(store)
    await decide_and_assign(store, task)
    why = reason("unable-to-reach", "TEXTCANARY")
    why["coding"].append({"code": "PLANCANARY"})

    await provider_says(store, task, caller="plan", status="failed", statusReason=why)

    _, ended = await bundles(store)
    assert ended["Task"]["statusReason"]["text"] == "Unable to Reach Member"
    assert "CANARY" not in str(ended)


async def test_what_a_request_contains_stays_with_it_and_is_not_pointed_at(store: Store) -> None:
    request = a_service_request(
        contained=[
            {"resourceType": "Condition", "id": "c1", "subject": {"display": "She"}},
            {"resourceType": "Organization", "id": "o1", "name": "The clinic's desk"},
        ],
        reasonReference=[{"reference": "#c1"}],
        supportingInfo=[
            {"reference": "#c1", "display": "As told"},
            {"reference": "https://clinic.example/fhir/Condition/1"},
        ],
        note=[{"text": "Ring twice", "authorReference": {"reference": "#o1"}}],
    )
    task = await refer(store, request=request)
    await decide_and_assign(store, task)

    (copy,) = await bundles(store)

    sr2 = resource_ids(await the_referral(store, task)).assignments[0].service_request
    for resource in (copy["ServiceRequest"], await now(store, f"ServiceRequest/{sr2}")):
        assert "reasonReference" not in resource
        assert resource["supportingInfo"] == [
            {"display": "As told"},
            {"reference": "https://clinic.example/fhir/Condition/1"},
        ]
        assert resource["note"] == [{"text": "Ring twice"}]


@pytest.mark.parametrize(
    "agreement",
    [
        None,
        replace(SERVER, notify_from=date(2026, 11, 21)),
        replace(SERVER, single_requests="post"),
    ],
    ids=["none", "not yet", "takes no updates"],
)
async def test_without_a_way_to_send_it_there_is_no_copy(store: Store, agreement: Any) -> None:
    await register(store, [replace(HARBOR, agreement=agreement)])
    task = await refer(store)

    await decide_and_assign(store, task)

    assert await copies(store, task) == []


async def test_a_server_without_transactions_gets_references_by_our_ids(store: Store) -> None:
    await register(store, [replace(HARBOR, agreement=replace(SERVER, single_requests="put"))])
    task = await refer(store)
    await decide_and_assign(store, task)

    (copy,) = await bundles(store)

    ids = resource_ids(await the_referral(store, task))
    sr2 = ids.assignments[0].service_request
    assert copy["Task"]["focus"] == {"reference": f"ServiceRequest/{sr2}"}
    assert copy["ServiceRequest"]["subject"] == {"reference": f"Patient/{ids.patient}"}


async def test_a_folder_gets_a_row(store: Store) -> None:
    drop = an_agreement(method="file-drop", endpoint="/drop", proof="acknowledgement")
    await register(store, [replace(HARBOR, agreement=drop)])
    task = await refer(store, request=a_service_request(note=[{"text": "=RING()"}]))
    theirs = await decide_and_assign(store, task)
    await provider_says(store, task, caller="clinic", status="cancelled")

    first, last = [
        next(csv.DictReader(io.StringIO(body.decode()))) for body in await store.read(_bodies)
    ]

    assert (first["change"], last["change"]) == ("new", "ended")
    assert first["referral_id"] == last["referral_id"] == theirs
    assert (first["cin"], first["family"], first["note"]) == (CIN, "Madeup", "'=RING()")
    assert (last["task_status"], last["ended_because"]) == ("cancelled", "Referral Withdrawn")
