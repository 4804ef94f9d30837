"""Delivery with pretend channels and a real database: what is sent when, and what is recorded."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, delete, update
from tests.notice_builders import Owed, a_lane, a_partner, store_owed, store_partners, told

from fhir_hub_bridge.connectors.interface import (
    Accepted,
    Answer,
    Connector,
    Message,
    Refused,
    Unavailable,
)
from fhir_hub_bridge.delivery.dispatch import deliver
from fhir_hub_bridge.delivery.pace import Pace
from fhir_hub_bridge.errors import OutcomeUnknown, StoreBusy
from fhir_hub_bridge.referral.parties import Agreement
from fhir_hub_bridge.store.notice_records import (
    NoticeRecord,
    attempts_of,
    count_notices,
    notices_of,
)
from fhir_hub_bridge.store.outbox import claim, record
from fhir_hub_bridge.store.partners import all_partners
from fhir_hub_bridge.store.tables import notice, resource
from fhir_hub_bridge.store.transaction import Store

PACE = Pace(
    schedule=(timedelta(seconds=0.02), timedelta(seconds=0.05), timedelta(hours=1)),
    lease=timedelta(seconds=20),
    deadline=timedelta(seconds=5),
    batch=8,
    partner_concurrency=3,
    poll=timedelta(seconds=0.05),
)
START = datetime.now(UTC) - timedelta(minutes=1)
Script = Callable[[Message], Answer | Awaitable[Answer]]


class PretendChannel:
    """A connector that keeps what it was given and answers by a script."""

    def __init__(self, script: Script = lambda _: Accepted(200)) -> None:
        self.script = script
        self.sent: list[str] = []
        self.bodies: defaultdict[str, set[bytes]] = defaultdict(set)
        self.at_once: defaultdict[str, int] = defaultdict(int)
        self.most_at_once: defaultdict[str, int] = defaultdict(int)

    async def send(self, message: Message, *, agreement: Agreement, now: datetime) -> Answer:
        place = agreement.endpoint
        self.sent.append(message.notice_id)
        self.bodies[message.notice_id].add(message.body)
        self.at_once[place] += 1
        self.most_at_once[place] = max(self.most_at_once[place], self.at_once[place])
        try:
            answer = self.script(message)
            return await answer if isinstance(answer, Awaitable) else answer
        finally:
            self.at_once[place] -= 1


class UnwillingStore:
    """A store whose answers to some units are lost, or that refuses them, a few times."""

    def __init__(self, store: Store, troubles: Mapping[Any, list[Exception]]) -> None:
        self._store = store
        self._troubles = troubles

    async def write(self, unit: Any, /, *args: Any, **kwargs: Any) -> Any:
        trouble = self._troubles[unit].pop(0) if self._troubles.get(unit) else None
        if trouble is not None and not isinstance(trouble, OutcomeUnknown):
            raise trouble
        answer = await self._store.write(unit, *args, **kwargs)
        if trouble is not None:
            raise trouble
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def by_notice(answers: Mapping[str, Sequence[Answer]]) -> Script:
    """Each notice's answers in turn, the last one repeating; others are accepted."""
    left = {id_: list(listed) for id_, listed in answers.items()}

    def script(message: Message) -> Answer:
        listed = left.get(message.notice_id, [Accepted(200)])
        return listed.pop(0) if len(listed) > 1 else listed[0]

    return script


@asynccontextmanager
async def delivering(
    store: Any, channel: Connector | Mapping[str, Connector], **how: Any
) -> AsyncIterator[asyncio.Event]:
    """A worker at work; yields the event that stops it, which happens at the end anyway."""
    stop = asyncio.Event()
    given = {
        "connectors": channel if isinstance(channel, Mapping) else {"fhir-push": channel},
        "pace": PACE,
        "escalate_to": "J. Doe",
        "told": told,
        "clock": lambda: datetime.now(UTC),
        **how,
    }
    worker = asyncio.create_task(deliver(store, stop=stop, **given))
    try:
        yield stop
        stop.set()
        await asyncio.wait_for(worker, 10)
    finally:
        worker.cancel()


async def owe(store: Store, *lanes: Sequence[Owed], partners: Sequence[Any] = ()) -> None:
    await store.write(store_partners, partners or [a_partner()])
    await store.write(store_owed, [one for lane in lanes for one in lane])


def owed_lane(name: str, **how: Any) -> list[Owed]:
    return a_lane(name, at=START, **how)


async def stands(store: Store, one: Owed) -> NoticeRecord:
    found = await store.read(notices_of, one.referral_id)
    return next(n for n in found if n.id == one.id)


async def outcomes(store: Store, one: Owed) -> list[str]:
    return [a.outcome for a in (await store.read(attempts_of, [one.id])).get(one.id, [])]


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await holds():
            await asyncio.sleep(0.01)


async def until_pending(store: Store, expected: int) -> None:
    async def holds() -> bool:
        return (await store.read(count_notices, now=START)).pending == expected

    await until(holds)


async def test_every_state_is_told_once_and_in_order(store: Store) -> None:
    lanes = [owed_lane(str(n), notices=3) for n in range(10)]
    await owe(store, *lanes)
    channel = PretendChannel()

    async with delivering(store, channel):
        await until_pending(store, 0)

    assert sorted(channel.sent) == sorted(one.id for lane in lanes for one in lane)
    for lane in lanes:
        assert [id_ for id_ in channel.sent if id_ in {one.id for one in lane}] == [
            one.id for one in lane
        ]


async def test_no_transaction_is_open_while_sending(store: Store) -> None:
    await owe(store, owed_lane("a"))

    async def write_meanwhile(_: Message) -> Answer:
        await asyncio.wait_for(store.write(store_partners, [a_partner("hub")]), 2)
        return Accepted(200)

    async with delivering(store, PretendChannel(write_meanwhile)):
        await until_pending(store, 0)

    assert {p.id for p in await store.read(all_partners)} == {"ehr", "hub"}


async def test_an_outage_is_ridden_out_with_the_same_bytes(store: Store) -> None:
    lane = owed_lane("a", notices=2)
    await owe(store, lane)
    down: list[Answer] = [*[Unavailable("HTTP 503", 503)] * 2, Accepted(200)]
    channel = PretendChannel(by_notice({lane[0].id: down}))

    async with delivering(store, channel):
        await until_pending(store, 0)

    assert channel.sent == [lane[0].id] * 3 + [lane[1].id]
    assert channel.bodies[lane[0].id] == {lane[0].body}
    assert await outcomes(store, lane[0]) == ["unavailable", "unavailable", "accepted"]


async def test_a_hanging_partner_delays_nobody_else(store: Store) -> None:
    partners = [a_partner("hangs", endpoint="http://hangs"), a_partner("works")]
    hanging = [owed_lane(f"h{n}", recipient="hangs") for n in range(30)]
    working = [owed_lane(f"w{n}", recipient="works") for n in range(10)]
    await owe(store, *hanging, *working, partners=partners)
    released = asyncio.Event()
    ids = {one.id for lane in hanging for one in lane}

    async def hang(message: Message) -> Answer:
        if message.notice_id in ids:
            await released.wait()
        return Accepted(200)

    channel = PretendChannel(hang)
    async with delivering(store, channel):
        await until_pending(store, 30)
        released.set()
        await until_pending(store, 0)

    assert channel.most_at_once["http://hangs"] == PACE.partner_concurrency


async def test_what_waited_for_a_partner_goes_out_when_it_is_back(store: Store) -> None:
    lanes = [owed_lane(str(n)) for n in range(12)]
    await owe(store, *lanes)
    down = True

    def script(_: Message) -> Answer:
        return Unavailable("HTTP 503", 503) if down else Accepted(200)

    channel = PretendChannel(script)
    slow = replace(PACE, schedule=(timedelta(hours=1),))
    async with delivering(store, channel, pace=slow):
        await until(lambda: _true(len(channel.sent) >= 5))
        down = False
        await until_pending(store, 0)

    tried = [await outcomes(store, lane[0]) for lane in lanes]
    assert ["unavailable", "accepted"] in tried
    assert all(found[-1] == "accepted" for found in tried)


async def test_a_refused_notice_gets_a_person_and_the_rest_goes_on(store: Store) -> None:
    bad, good = owed_lane("bad", notices=2), owed_lane("good", notices=2)
    await owe(store, bad, good)
    channel = PretendChannel(by_notice({bad[0].id: [Refused("HTTP 410", 410)]}))
    now = START

    def clock() -> datetime:
        return datetime.now(UTC) + (now - START)

    async with delivering(store, channel, clock=clock):
        await until_pending(store, 2)
        now += timedelta(minutes=6)
        await until(lambda: _is_escalated(store, bad[0]))

    after = await stands(store, bad[0])
    assert (after.state, after.escalated_to, after.escalated_why) == (
        "pending",
        "J. Doe",
        "HTTP 410",
    )
    assert await outcomes(store, bad[0]) == ["refused", "refused"]
    assert await outcomes(store, bad[1]) == []


@pytest.mark.parametrize(
    ("agreement", "why"),
    [
        (None, "the agreement on record names another way than it was made for"),
        ("file-drop", "the agreement on record names another way than it was made for"),
    ],
)
async def test_a_notice_whose_agreement_is_gone_or_changed_gets_a_person_unsent(
    store: Store, agreement: str | None, why: str
) -> None:
    (one,) = owed_lane("a")
    partner = a_partner(method=agreement or "fhir-push")
    await owe(store, [one], partners=[partner if agreement else replace(partner, agreement=None)])
    channel = PretendChannel()

    async with delivering(store, {"fhir-push": channel, "file-drop": channel}):
        await until(lambda: _is_escalated(store, one))

    assert channel.sent == []
    assert (await stands(store, one)).escalated_why == why


async def test_bytes_that_were_altered_in_the_store_never_leave(store: Store) -> None:
    (one,) = owed_lane("a")
    await owe(store, [one])
    await store.write(_alter, one)
    channel = PretendChannel()

    async with delivering(store, channel):
        await until(lambda: _is_escalated(store, one))

    assert channel.sent == []
    assert await outcomes(store, one) == ["unsendable"]


async def test_a_notice_that_breaks_the_channel_gets_a_person_and_holds_nobody(
    store: Store,
) -> None:
    poison, good = owed_lane("poison"), owed_lane("good", notices=3)
    await owe(store, poison, good)

    def script(message: Message) -> Answer:
        if message.notice_id == poison[0].id:
            raise RuntimeError("Alma Sample")
        return Accepted(200)

    async with delivering(store, PretendChannel(script)):
        await until_pending(store, 1)
        await until(lambda: _is_escalated(store, poison[0]))

    assert (await stands(store, poison[0])).escalated_why == ("it failed on our side: RuntimeError")


async def test_a_told_notice_that_cannot_be_recorded_gets_a_person(store: Store) -> None:
    (one,) = owed_lane("a")
    await owe(store, [one])
    await store.write(_lose_communication, one)

    async with delivering(store, PretendChannel()):
        await until(lambda: _is_escalated(store, one))

    after = await stands(store, one)
    assert (after.state, after.escalated_why) == ("pending", "it failed on our side: Unknown")


@pytest.mark.parametrize("trouble", [StoreBusy, OutcomeUnknown], ids=["busy", "unknown"])
async def test_a_store_in_trouble_is_waited_for_and_nothing_is_sent_twice(
    store: Store, trouble: type[Exception]
) -> None:
    lanes = [owed_lane(str(n)) for n in range(3)]
    await owe(store, *lanes)
    unwilling = UnwillingStore(
        store, {claim: [StoreBusy(), RuntimeError("?")], record: [trouble(), trouble(), trouble()]}
    )
    channel = PretendChannel()

    async with delivering(unwilling, channel):
        await until_pending(store, 0)

    assert sorted(channel.sent) == sorted(lane[0].id for lane in lanes)
    assert [await outcomes(store, lane[0]) for lane in lanes] == [["accepted"]] * 3


async def test_nothing_is_begun_after_stop_and_what_was_begun_is_recorded(store: Store) -> None:
    lanes = [owed_lane(str(n)) for n in range(8)]
    await owe(store, *lanes)
    released = asyncio.Event()

    async def slow(_: Message) -> Answer:
        await released.wait()
        return Accepted(200)

    channel = PretendChannel(slow)
    async with delivering(store, channel) as stop:
        await until(lambda: _true(len(channel.sent) == PACE.partner_concurrency))
        stop.set()
        released.set()

    assert len(channel.sent) == PACE.partner_concurrency
    left = await store.write(claim, now=datetime.now(UTC), lease=PACE.lease, limit=50)
    assert len(left) == len(lanes) - len(channel.sent)


async def test_a_notice_whose_turn_comes_too_late_is_left_to_others(store: Store) -> None:
    lanes = [owed_lane(str(n)) for n in range(4)]
    await owe(store, *lanes)
    now = datetime.now(UTC)

    async def very_slow(_: Message) -> Answer:
        nonlocal now
        now += timedelta(seconds=16)
        await asyncio.sleep(0.01)
        return Accepted(200)

    channel = PretendChannel(very_slow)
    one_by_one = replace(PACE, partner_concurrency=1)
    async with delivering(store, channel, pace=one_by_one, clock=lambda: now):
        await until_pending(store, 0)

    assert sorted(channel.sent) == sorted(lane[0].id for lane in lanes)
    assert [await outcomes(store, lane[0]) for lane in lanes] == [["accepted"]] * 4


async def test_a_wake_up_sends_at_once(store: Store) -> None:
    await owe(store)
    channel = PretendChannel()
    wake = asyncio.Event()
    lazy = replace(PACE, poll=timedelta(seconds=30))
    async with delivering(store, channel, pace=lazy, wake=wake) as stop:
        await asyncio.sleep(0.2)
        await store.write(store_owed, owed_lane("a"))
        wake.set()
        await until_pending(store, 0)
        stop.set()
        wake.set()

    assert len(channel.sent) == 1


async def test_two_workers_share_the_work(store: Store) -> None:
    lanes = [owed_lane(str(n), notices=2) for n in range(30)]
    await owe(store, *lanes)

    async def slow(_: Message) -> Answer:
        await asyncio.sleep(0.005)
        return Accepted(200)

    first, second = PretendChannel(slow), PretendChannel(slow)
    async with delivering(store, first), delivering(store, second):
        await until_pending(store, 0)

    assert first.sent and second.sent
    assert len(first.sent + second.sent) == len(set(first.sent + second.sent)) == 60


async def _true(value: bool) -> bool:
    return value


async def _is_escalated(store: Store, one: Owed) -> bool:
    return (await stands(store, one)).escalated_at is not None


def _alter(conn: Connection, one: Owed) -> None:
    conn.execute(update(notice).where(notice.c.id == one.id).values(message=one.body + b" "))


def _lose_communication(conn: Connection, one: Owed) -> None:
    conn.execute(delete(resource).where(resource.c.id == one.communication_id))
