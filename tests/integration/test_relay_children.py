"""What a provider does to its Task on its own server comes up to the referral."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
from fhir_hub_bridge.intake.relay import Relay, keep_in_touch, look_once
from fhir_hub_bridge.mapping.codings import code_in
from fhir_hub_bridge.store.console_queries import story
from fhir_hub_bridge.store.remote_copies import claim
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


def _in_order(conn: Connection) -> list[str]:
    c = remote_copy.c
    return list(conn.execute(select(c.id).order_by(c.checked_at, c.bucket, c.id)).scalars())


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


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for it, at most ten seconds."""
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.01)


async def test_a_slow_server_delays_only_its_own_partner(store: Store, looking: Looking) -> None:
    other = "https://hearth.example/fhir"
    await register(store, [replace(HEARTH, agreement=an_agreement(endpoint=other))])
    await decide_and_assign(store, await refer(store, "R-1"))
    await decide_and_assign(store, await refer(store, "R-2"), "hearth")
    there = await arrived(store, looking.there, other)
    looking.there.gates[BASE] = asyncio.Event()
    stop, changed = asyncio.Event(), asyncio.Event()
    tick = timedelta(milliseconds=10)

    looks = asyncio.create_task(keep_in_touch(looking.relay, stop=stop, changed=changed, tick=tick))
    for status in ("accepted", "in-progress"):
        looking.there.put(other, {**there, "status": status})
        looking.at += HOUR
        await until(changed.is_set)
        changed.clear()

    assert [base for base, _ in looking.there.asked].count(BASE) == 1
    looking.there.gates[BASE].set()
    stop.set()
    await looks


async def test_who_is_to_stop_looks_at_no_more_than_it_began(
    store: Store, looking: Looking
) -> None:
    for number in ("R-1", "R-2"):
        await decide_and_assign(store, await refer(store, number))
    looking.there.gates[BASE] = asyncio.Event()
    looking.at += HOUR
    stop = asyncio.Event()

    looks = asyncio.create_task(keep_in_touch(looking.relay, stop=stop))
    await until(lambda: bool(looking.there.asked))
    stop.set()
    looking.there.gates[BASE].set()
    await looks

    assert len(looking.there.asked) == 1


@pytest.mark.parametrize(
    "entry", [5, None, "x", {"resource": {}}, [None, {"resource": 5}]], ids=str
)
async def test_nonsense_from_one_server_is_no_matter_for_others(
    store: Store, looking: Looking, entry: Any
) -> None:
    other = "https://hearth.example/fhir"
    await register(store, [replace(HEARTH, agreement=an_agreement(endpoint=other))])
    await decide_and_assign(store, await refer(store, "R-1"))
    await decide_and_assign(store, await refer(store, "R-2"), "hearth")
    there = await arrived(store, looking.there, other)
    looking.there.put(other, {**there, "status": "accepted"})
    looking.there.nonsense[BASE] = {"resourceType": "Bundle", "entry": entry}

    assert await looking.look() == 1


async def test_ended_ones_in_front_hide_none_behind_them(store: Store) -> None:
    parts = {}
    for number in ("R-1", "R-2", "R-3"):
        task = await refer(store, number)
        parts[await decide_and_assign(store, task)] = task
    *ended, last = await store.read(_in_order)
    for theirs in ended:
        await provider_says(store, parts[theirs], caller="clinic", status="cancelled")

    when = NOW + HOUR
    claimed = await store.write(
        claim, kind="child", partner="harbor", looked_before=when, now=when, limit=1
    )

    assert [copy.id for copy in claimed] == [last]


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
