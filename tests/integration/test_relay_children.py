"""What a provider does to its Task on its own server comes up to the referral."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, select
from tests.builders import (
    HARBOR,
    HEARTH,
    NOW,
    a_recording,
    a_rulebook,
    an_agreement,
    reason,
    register,
    said,
)
from tests.partner_servers import PretendServer
from tests.stored_loops import (
    decide_and_assign,
    events,
    notices,
    now,
    provider_says,
    refer,
    the_referral,
    versions,
)

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json, parse_json
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.intake.relay import Relay, look_once
from fhir_hub_bridge.mapping.codings import code_in
from fhir_hub_bridge.store.console_queries import story
from fhir_hub_bridge.store.tables import notice, remote_copy
from fhir_hub_bridge.store.transaction import Store
from fhir_hub_bridge.web.timeline import timeline

BASE = "https://harbor.example/fhir"
HOUR = timedelta(hours=1)


class Looking:
    """A relay whose clock goes on by an hour with each look."""

    def __init__(self, store: Store) -> None:
        self.there = PretendServer()
        self.at = NOW
        self._seeds = 0
        self.relay = Relay(store, self.there, self._recording, every=timedelta(minutes=30))

    def _recording(self) -> Recording:
        self._seeds += 1
        return a_recording(self.at, f"look{self._seeds}")

    async def look(self) -> int:
        self.at += HOUR
        return await look_once(self.relay)


@pytest.fixture(autouse=True)
async def _partners(store: Store) -> None:
    await register(store)
    await register(store, [replace(HARBOR, agreement=an_agreement(endpoint=BASE))])


@pytest.fixture
def looking(store: Store) -> Looking:
    return Looking(store)


async def arrived(store: Store, server: PretendServer, base: str = BASE) -> Json:
    """The newest copy arrives at the provider's server; its Task there."""
    body = (await store.read(_messages))[-1]
    task: Json = parse_json(body)["entry"][-1]["resource"]
    there = {**task, "id": f"their-{len(server.held)}", "for": {"reference": "Patient/theirs"}}
    server.put(base, there)
    return there


def _messages(conn: Connection) -> list[bytes]:
    query = select(notice.c.message).where(notice.c.type == "referral-copy")
    return [bytes(body) for body in conn.execute(query.order_by(notice.c.lane)).scalars()]


def _troubles(conn: Connection) -> list[str]:
    return list(conn.execute(select(remote_copy.c.trouble)).scalars())


@pytest.mark.requirement("refer-6")
async def test_a_provider_s_steps_come_up_one_by_one(store: Store, looking: Looking) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    there = await arrived(store, looking.there)

    for changes in (
        {"status": "accepted"},
        {"status": "in-progress", "businessStatus": said("outreach-initiated")},
        {"status": "completed", "statusReason": reason("services-received")},
    ):
        there = {**there, **changes}
        looking.there.put(BASE, there)
        assert await looking.look() == 1

    stored = await the_referral(store, task)
    assert [t["status"] for t in await versions(store, f"Task/{theirs}")] == [
        "requested",
        "accepted",
        "in-progress",
        "completed",
    ]
    assert stored.referral.closure is not None
    assert stored.referral.closure.reason == "services-received"
    assert [n.type for n in await notices(store, stored)][-1] == "loop-closed"
    assert {e.told.by.partner for e in (await events(store, stored))[3:]} == {"harbor"}
    assert len(await store.read(_messages)) == 1  # nothing of it goes back to who said it


async def test_steps_between_two_looks_are_filled_in(store: Store, looking: Looking) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    there = await arrived(store, looking.there)
    output = [
        {
            "type": {"coding": [{"system": canonical.SDOHCC_TEMPORARY_CODES, "code": "x"}]},
            "valueReference": {"reference": "Procedure/p1"},
        }
    ]

    looking.there.put(BASE, {**there, "status": "completed", "output": output})
    await looking.look()

    every = await versions(store, f"Task/{theirs}")
    assert [t["status"] for t in every] == ["requested", "accepted", "in-progress", "completed"]
    assert every[-1]["output"][0]["valueReference"] == {"reference": f"{BASE}/Procedure/p1"}
    assert code_in(every[-1]["statusReason"], canonical.CLOSURE_REASON) == "services-received"
    assert (await now(store, f"Task/{task}"))["status"] == "completed"


async def test_on_hold_before_anything_else_means_accepted_before(
    store: Store, looking: Looking
) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    there = await arrived(store, looking.there)

    looking.there.put(BASE, {**there, "status": "on-hold", "statusReason": {"text": "Away"}})
    await looking.look()

    every = await versions(store, f"Task/{theirs}")
    assert [t["status"] for t in every] == ["requested", "accepted", "on-hold"]
    assert code_in(every[-1]["businessStatus"], canonical.REFERRAL_STATUS) == "accepted"


async def test_what_did_not_change_there_changes_nothing_here(
    store: Store, looking: Looking
) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    there = await arrived(store, looking.there)
    looking.there.put(BASE, {**there, "status": "accepted"})
    assert await looking.look() == 1
    before = await versions(store, f"Task/{theirs}")

    assert await looking.look() == 0
    looking.there.put(BASE, {**there, "status": "accepted", "description": "Their own note"})
    assert await looking.look() == 0

    assert await versions(store, f"Task/{theirs}") == before


async def test_their_old_copy_of_a_status_says_nothing(store: Store, looking: Looking) -> None:
    """They moved Task.status only: the businessStatus beside it is still the one we sent."""
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    there = await arrived(store, looking.there)
    looking.there.put(BASE, {**there, "status": "accepted"})
    await looking.look()

    looking.there.put(BASE, {**there, "status": "in-progress"})
    await looking.look()

    after = await now(store, f"Task/{theirs}")
    assert code_in(after["businessStatus"], canonical.REFERRAL_STATUS) == "outreach-initiated"


async def test_a_task_that_has_not_arrived_is_looked_for_again(
    store: Store, looking: Looking
) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    assert await looking.look() == 0

    there = await arrived(store, looking.there)
    looking.there.put(BASE, {**there, "status": "accepted"})

    assert await looking.look() == 1
    assert (await now(store, f"Task/{theirs}"))["status"] == "accepted"


async def test_a_server_that_is_down_is_left_until_the_next_time(
    store: Store, looking: Looking
) -> None:
    other = "https://hearth.example/fhir"
    await register(store, [replace(HEARTH, agreement=an_agreement(endpoint=other))])
    first, second = await refer(store, "R-1"), await refer(store, "R-2")
    await decide_and_assign(store, first)
    harbors = await arrived(store, looking.there)
    await decide_and_assign(store, second, "hearth")
    hearths = await arrived(store, looking.there, other)
    looking.there.put(BASE, {**harbors, "status": "accepted"})
    looking.there.put(other, {**hearths, "status": "accepted"})
    looking.there.down = {BASE}

    assert await looking.look() == 1  # the other partner's
    looking.there.down = set()

    assert await looking.look() == 1


@pytest.mark.requirement("task-11")
@pytest.mark.requirement("task-12")
async def test_nobody_is_asked_more_often_than_the_pace_allows(
    store: Store, looking: Looking
) -> None:
    await decide_and_assign(store, await refer(store))
    await looking.look()
    asked = len(looking.there.asked)

    looking.at += timedelta(minutes=29)
    await look_once(looking.relay)
    assert len(looking.there.asked) == asked

    looking.at += timedelta(minutes=2)
    await look_once(looking.relay)
    assert len(looking.there.asked) == asked + 1


async def test_an_ended_part_is_asked_about_no_more(store: Store, looking: Looking) -> None:
    task = await refer(store)
    await decide_and_assign(store, task)
    await provider_says(store, task, caller="clinic", status="cancelled")

    await looking.look()
    await looking.look()

    assert looking.there.asked == []


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"status": "failed"}, "closure-needs-reason"),
        ({"status": "entered-in-error"}, "task-transition"),
        ({"status": "ready"}, "task-transition"),
        ({"status": "completed", "statusReason": "done"}, "element-type"),
        ({"status": "accepted", "output": [{"valueString": "x"}]}, "element-required"),
    ],
    ids=str,
)
async def test_what_the_rules_do_not_take_is_noted_and_changes_nothing(
    store: Store, looking: Looking, changes: dict[str, Any], rule: str
) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    looking.there.put(BASE, {**await arrived(store, looking.there), **changes})

    assert await looking.look() == 0

    assert len(await versions(store, f"Task/{theirs}")) == 1
    assert await store.read(_troubles) == [rule]
    told = await store.read_snapshot(story, (await the_referral(store, task)).referral.id)
    assert [(t.partner, t.rule) for t in told.troubles] == [("harbor", rule)]
    page = [moment for _, day in timeline(told, a_rulebook()) for moment in day]
    assert any("needs a person" in {mark.text for mark in moment.marks} for moment in page)


async def test_what_was_put_right_there_is_no_trouble_any_more(
    store: Store, looking: Looking
) -> None:
    await decide_and_assign(store, await refer(store))
    there = await arrived(store, looking.there)
    looking.there.put(BASE, {**there, "status": "failed"})
    await looking.look()

    looking.there.put(BASE, there)
    await looking.look()

    assert await store.read(_troubles) == [""]


async def test_after_trouble_the_next_change_is_taken(store: Store, looking: Looking) -> None:
    task = await refer(store)
    await decide_and_assign(store, task)
    there = await arrived(store, looking.there)
    looking.there.put(BASE, {**there, "status": "failed"})
    await looking.look()

    why = reason("unable-to-reach")
    looking.there.put(BASE, {**there, "status": "failed", "statusReason": why})
    await looking.look()

    stored = await the_referral(store, task)
    assert stored.referral.closure is not None
    assert stored.referral.closure.reason == "unable-to-reach"
    assert await store.read(_troubles) == [""]


async def test_a_provider_may_use_both_ways(store: Store, looking: Looking) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    there = await arrived(store, looking.there)
    await provider_says(store, theirs, status="accepted")

    looking.there.put(BASE, {**there, "status": "accepted"})
    assert await looking.look() == 0

    looking.there.put(BASE, {**there, "status": "in-progress"})
    assert await looking.look() == 1
