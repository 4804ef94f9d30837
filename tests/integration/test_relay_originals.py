"""A Task whose focus is on its sender's server: fetched, copied, kept current."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, select
from tests.builders import (
    BASE_URL,
    CIN,
    CLINIC,
    HARBOR,
    NOW,
    PARTNERS,
    TASK,
    a_bundle,
    a_patient,
    a_recording,
    a_service_request,
    a_task,
    an_agreement,
    posted,
    register,
)
from tests.partner_servers import PretendServer
from tests.stored_loops import counts, decide_and_assign, events, now, the_referral

from fhir_hub_bridge.errors import ResourceRejected
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.intake.fhir_request import Asked, read_entries
from fhir_hub_bridge.intake.receive_fhir import receive
from fhir_hub_bridge.intake.record_referral import resource_ids
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.intake.referral_fetched import fetch_originals
from fhir_hub_bridge.intake.relay import Relay, look_once
from fhir_hub_bridge.referral.model import EventKind
from fhir_hub_bridge.store.console_queries import story
from fhir_hub_bridge.store.tables import remote_copy
from fhir_hub_bridge.store.transaction import Store

BASE = "https://clinic.example/fhir"  # CLINIC's, by its agreement


class Sender:
    """The clinic and its server."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.server = PretendServer()
        self.at = NOW
        self._seeds = 0
        self.request: Json = a_service_request(
            id="sr1",
            subject={"reference": "Patient/p1"},
            requester={"reference": "PractitionerRole/pr1"},
            insurance=[{"reference": "Coverage/c1"}],
            reasonReference=[{"reference": "https://other.example/fhir/Condition/1"}],
        )
        self.holds(self.request)
        self.holds(a_patient(id="p1", generalPractitioner=[{"reference": "Practitioner/gp"}]))
        self.holds(
            {
                "resourceType": "PractitionerRole",
                "id": "pr1",
                "organization": {"reference": "Organization/o1"},
            }
        )
        self.holds(
            {
                "resourceType": "Organization",
                "id": "o1",
                "name": "Clinic Example",
                "identifier": [{"system": canonical.NPI, "value": CLINIC.npi}],
            }
        )
        self.holds(
            {
                "resourceType": "Coverage",
                "id": "c1",
                "status": "active",
                "beneficiary": {"reference": "Patient/p1"},
                "payor": [{"display": "A plan"}],
            }
        )

    def holds(self, resource: Json) -> None:
        meta = {"versionId": "7", "lastUpdated": "2026-11-01T10:00:00Z"}
        self.server.put(BASE, {**resource, "meta": meta})

    def task(self) -> Json:
        return a_task(
            focus={"reference": f"{BASE}/ServiceRequest/sr1"},
            requester={"reference": f"{BASE}/PractitionerRole/pr1"},
            **{"for": {"reference": f"{BASE}/Patient/p1"}},
        )

    async def posts(self, *, caller: str = "", **changes: Any) -> Json:
        body = json.dumps({**self.task(), **changes}).encode()
        asked = Asked("POST", body, type="Task", caller=caller)
        answered = await receive(
            asked, store=self.store, recording=self.recording(), reader=lambda: self.server
        )
        found: Json = json.loads(answered.body)
        return found

    def recording(self) -> Recording:
        self._seeds += 1
        return a_recording(self.at, f"sender{self._seeds}")

    async def look(self) -> int:
        self.at += timedelta(hours=1)
        relay = Relay(self.store, self.server, self.recording, every=timedelta(minutes=30))
        return await look_once(relay)


@pytest.fixture(autouse=True)
async def _partners(store: Store) -> None:
    await register(store, PARTNERS)


@pytest.fixture
def sender(store: Store) -> Sender:
    return Sender(store)


def _kept(conn: Connection) -> dict[str, str]:
    query = select(remote_copy.c.url, remote_copy.c.type).where(remote_copy.c.kind == "original")
    return {row[0]: row[1] for row in conn.execute(query)}


def _partners_of_copies(conn: Connection) -> list[str]:
    return list(conn.execute(select(remote_copy.c.partner)).scalars())


async def test_what_a_task_is_about_is_copied_and_its_source_named(
    store: Store, sender: Sender
) -> None:
    task = await sender.posts()

    stored = await the_referral(store, task["id"])
    ids = resource_ids(stored)
    request = await now(store, f"ServiceRequest/{ids.service_request}")
    assert task["focus"] == {"reference": f"ServiceRequest/{ids.service_request}"}
    assert task["for"] == request["subject"] == {"reference": f"Patient/{ids.patient}"}
    assert request["meta"]["source"] == f"{BASE}/ServiceRequest/sr1"
    assert request["meta"]["versionId"] == "1"
    assert request["insurance"] == [{"reference": f"Coverage/{ids.coverage}"}]
    assert stored.referral.cin == CIN
    assert stored.referral.requester.partner == CLINIC.id
    assert [e.kind for e in await events(store, stored)] == [EventKind.REFERRAL_RECEIVED]
    assert set(await store.read(_kept)) == {
        f"{BASE}/{r}"
        for r in ("ServiceRequest/sr1", "Patient/p1", "PractitionerRole/pr1", "Organization/o1")
    } | {f"{BASE}/Coverage/c1"}


async def test_only_the_sender_s_own_server_is_asked_and_only_for_what_belongs_to_it(
    sender: Sender,
) -> None:
    await sender.posts()

    assert {base for base, _ in sender.server.asked} == {BASE}
    assert "Practitioner/gp" not in {path for _, path in sender.server.asked}
    assert len(sender.server.asked) == 5


async def test_the_same_task_again_gets_the_first_answer(store: Store, sender: Sender) -> None:
    first = await sender.posts()
    before = await counts(store)

    sender.server.down = {BASE}  # not even asked again

    assert await sender.posts() == first
    assert await counts(store) == before


@pytest.mark.parametrize(
    "focus",
    [
        "https://elsewhere.example/fhir/ServiceRequest/sr1",
        "http://169.254.169.254/latest/ServiceRequest/sr1",
        "http://127.0.0.1:5432/ServiceRequest/sr1",
        "https://clinic.example/fhir/../admin/ServiceRequest/sr1",
        "https://clinic.example.evil.example/fhir/ServiceRequest/sr1",
    ],
)
async def test_no_host_that_a_message_names_is_ever_asked(
    store: Store, sender: Sender, focus: str
) -> None:
    before = await counts(store)

    with pytest.raises(ResourceRejected) as refused:
        await sender.posts(focus={"reference": focus})

    assert {issue.rule for issue in refused.value.issues} == {"foreign-reference"}
    assert sender.server.asked == []
    assert await counts(store) == before


async def test_another_partner_does_not_send_us_to_the_clinic_s_server(sender: Sender) -> None:
    with pytest.raises(ResourceRejected) as refused:
        await sender.posts(caller="harbor")

    assert refused.value.issues[0].rule == "foreign-reference"
    assert sender.server.asked == []


def _gone(sender: Sender) -> None:
    del sender.server.held[BASE, "ServiceRequest/sr1"]


def _down(sender: Sender) -> None:
    sender.server.down = {BASE}


def _lying(sender: Sender) -> None:
    sender.server.held[BASE, "ServiceRequest/sr1"] = {"resourceType": "Patient", "id": "sr1"}


@pytest.mark.parametrize("trouble", [_gone, _down, _lying])
async def test_a_focus_that_is_not_to_be_had_is_refused(
    store: Store, sender: Sender, trouble: Callable[[Sender], None]
) -> None:
    trouble(sender)
    before = await counts(store)

    with pytest.raises(ResourceRejected) as refused:
        await sender.posts()

    assert refused.value.issues[0].rule == "focus-not-reachable"
    assert await counts(store) == before


async def test_a_fetched_resource_is_judged_like_one_that_was_sent(sender: Sender) -> None:
    sender.holds({**sender.request, "status": "nonsense"})

    with pytest.raises(ResourceRejected) as refused:
        await sender.posts()

    assert "ServiceRequest on its server" in refused.value.issues[0].place


async def test_no_more_than_so_many_resources_are_fetched(sender: Sender) -> None:
    info = [{"reference": f"Condition/{number}"} for number in range(40)]
    for number in range(40):
        subject = {"reference": "Patient/p1"}
        sender.holds({"resourceType": "Condition", "id": str(number), "subject": subject})
    sender.holds({**sender.request, "reasonReference": info})

    task = await sender.posts()

    request = await now(sender.store, task["focus"]["reference"])
    where = [r["reference"].startswith(BASE) for r in request["reasonReference"]]
    assert 0 < where.count(False) < 20
    assert where[-1]


async def test_an_amended_original_comes_down_to_the_provider(store: Store, sender: Sender) -> None:
    agreement = an_agreement(endpoint="https://harbor.example/fhir")
    await register(store, [replace(HARBOR, agreement=agreement)])
    task = await sender.posts()
    await decide_and_assign(store, task["id"])
    assert await sender.look() == 0

    sender.holds({**sender.request, "priority": "urgent"})
    assert await sender.look() == 1

    stored = await the_referral(store, task["id"])
    copy = resource_ids(stored).assignments[0].service_request
    request = await now(store, task["focus"]["reference"])
    assert request["priority"] == "urgent"
    assert request["meta"]["source"] == f"{BASE}/ServiceRequest/sr1"
    assert (await now(store, f"ServiceRequest/{copy}"))["priority"] == "urgent"
    last = (await events(store, stored))[-1]
    assert (last.kind, last.told.by.partner) == (EventKind.REFERRAL_AMENDED, CLINIC.id)
    assert await sender.look() == 0


async def test_a_revoked_original_takes_the_referral_back(store: Store, sender: Sender) -> None:
    task = await sender.posts()
    theirs = await decide_and_assign(store, task["id"])

    sender.holds({**sender.request, "status": "revoked"})
    await sender.look()

    stored = await the_referral(store, task["id"])
    assert stored.referral.closure is not None
    assert stored.referral.closure.reason == "referral-withdrawn"
    assert (await now(store, f"Task/{theirs}"))["status"] == "cancelled"
    asked = len(sender.server.asked)
    await sender.look()
    assert len(sender.server.asked) == asked  # a closed referral's originals are left alone


async def test_an_original_that_is_another_person_s_now_is_not_taken(
    store: Store, sender: Sender
) -> None:
    task = await sender.posts()

    sender.holds({**sender.request, "subject": {"reference": "Patient/p2"}})

    assert await sender.look() == 0
    assert (await now(store, task["focus"]["reference"]))["meta"]["versionId"] == "1"


async def test_a_corrected_person_is_corrected_here(store: Store, sender: Sender) -> None:
    task = await sender.posts()
    sender.holds(a_patient(id="p1", telecom=[{"system": "phone", "value": "555-0100"}]))

    assert await sender.look() == 1

    patient = await now(store, task["for"]["reference"])
    assert patient["telecom"] == [{"system": "phone", "value": "555-0100"}]


async def test_a_requester_with_a_server_but_no_number_is_recorded_and_may_take_back(
    store: Store, sender: Sender
) -> None:
    sender.holds({"resourceType": "Organization", "id": "o1", "name": "A branch"})
    task = await sender.posts()

    sender.holds({**sender.request, "status": "revoked"})
    await sender.look()

    stored = await the_referral(store, task["id"])
    assert stored.referral.requester.partner is None
    assert stored.referral.closure is not None


async def test_an_original_that_is_gone_is_shown_to_a_person(store: Store, sender: Sender) -> None:
    task = await sender.posts()
    _gone(sender)

    await sender.look()
    await sender.look()

    told = await store.read_snapshot(story, (await the_referral(store, task["id"])).referral.id)
    assert [t.rule for t in told.troubles] == ["original-gone"]
    sender.holds({**sender.request, "priority": "urgent"})
    assert await sender.look() == 1
    told = await store.read_snapshot(story, told.stored.referral.id)
    assert told.troubles == ()


async def test_a_bundle_may_point_at_its_sender_s_server_too(store: Store, sender: Sender) -> None:
    task = a_task(
        focus={"reference": f"{BASE}/ServiceRequest/sr1"},
        **{"for": {"reference": f"{BASE}/Patient/p1"}},
    )
    asked = posted(a_bundle(("POST Task", TASK, task)), caller="clinic")

    answered = await receive(
        asked, store=store, recording=sender.recording(), reader=lambda: sender.server
    )

    (entry,) = json.loads(answered.body)["entry"]
    _, id_, *_ = entry["response"]["location"].split("/")
    assert (await the_referral(store, id_)).referral.cin == CIN


@pytest.mark.parametrize("focus", [None, {"identifier": {"system": "urn:x", "value": "1"}}])
async def test_a_task_beside_it_without_a_literal_focus_is_no_matter(
    store: Store, sender: Sender, focus: Json | None
) -> None:
    beside = {**a_task(focus=focus, **{"for": None}), "code": {"text": "Ring her"}}
    body = a_bundle(("POST Task", TASK, sender.task()), ("POST Task", "", beside))

    answered = await receive(
        posted(body, caller="clinic"),
        store=store,
        recording=sender.recording(),
        reader=lambda: sender.server,
    )

    assert len(json.loads(answered.body)["entry"]) == 2


@pytest.mark.parametrize("base", [BASE, "https://nobody.example/fhir"])
async def test_what_a_bundle_brings_along_is_not_fetched_wherever_it_is_at_home(
    store: Store, sender: Sender, base: str
) -> None:
    request = a_service_request(subject={"reference": f"{base}/Patient/p1"})
    task = a_task(
        focus={"reference": f"{base}/ServiceRequest/sr1"},
        **{"for": {"reference": f"{base}/Patient/p1"}},
    )
    body = a_bundle(
        ("POST Patient", f"{base}/Patient/p1", a_patient()),
        ("POST ServiceRequest", f"{base}/ServiceRequest/sr1", request),
        ("POST Task", f"{base}/Task/t1", task),
    )

    answered = await receive(
        posted(body, caller="clinic"),
        store=store,
        recording=sender.recording(),
        reader=lambda: sender.server,
    )

    *_, entry = json.loads(answered.body)["entry"]
    _, id_, *_ = entry["response"]["location"].split("/")
    assert (await the_referral(store, id_)).referral.cin == CIN
    assert sender.server.asked == []


@pytest.mark.parametrize(
    ("caller", "requester"),
    [
        ("clinic", {"reference": f"{BASE}/PractitionerRole/pr1"}),
        ("", {"identifier": {"system": canonical.NPI, "value": CLINIC.npi}}),
    ],
    ids=["who asks", "who refers"],
)
async def test_of_partners_that_share_a_server_it_is_the_sender_s(
    store: Store, sender: Sender, caller: str, requester: Json
) -> None:
    assert CLINIC.agreement is not None
    await register(store, [replace(HARBOR, agreement=CLINIC.agreement)])

    task = await sender.posts(caller=caller, requester=requester)

    assert (await the_referral(store, task["id"])).referral.requester.partner == CLINIC.id
    assert set(await store.read(_partners_of_copies)) == {CLINIC.id}


async def test_who_cannot_be_told_from_another_on_its_server_is_asked_who_it_is(
    store: Store, sender: Sender
) -> None:
    await register(store, [replace(HARBOR, agreement=CLINIC.agreement)])

    with pytest.raises(ResourceRejected) as refused:
        await sender.posts()

    assert refused.value.issues[0].rule == "foreign-reference"


async def test_a_slow_server_keeps_nobody_waiting(store: Store, sender: Sender) -> None:
    asked = Asked("POST", json.dumps(sender.task()).encode(), type="Task")
    recording = sender.recording()
    sender.server.gates[BASE] = asyncio.Event()

    with pytest.raises(ResourceRejected) as refused:
        async with asyncio.timeout(5):
            await fetch_originals(
                asked,
                read_entries(asked, bases=[BASE_URL], library=recording.library),
                store=store,
                reader=lambda: sender.server,
                base_url=BASE_URL,
                now=NOW,
                within=timedelta(seconds=0.05),
            )

    assert refused.value.issues[0].rule == "focus-not-reachable"


async def test_an_original_that_is_no_fhir_is_left_until_it_is_mended(
    store: Store, sender: Sender
) -> None:
    task = await sender.posts()
    sender.server.put(BASE, {**sender.request, "meta": "nonsense", "priority": 7})
    sender.holds(a_patient(id="p1", gender="female"))

    assert await sender.look() == 1  # the person's

    assert (await now(store, task["focus"]["reference"]))["meta"]["versionId"] == "1"
    stored = await the_referral(store, task["id"])
    for mended, rules in ((False, ["not-r4"]), (True, [])):
        if mended:
            sender.holds(sender.request)
        await sender.look()
        told = await store.read_snapshot(story, stored.referral.id)
        assert [t.rule for t in told.troubles] == rules
