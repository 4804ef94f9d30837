"""Claims, leases, lanes and fencing, on both databases."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from tests.notice_builders import NOW, Owed, a_lane, store_owed, told

from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.notice_records import NoticeRecord, attempts_of, notices_of
from fhir_hub_bridge.store.notice_rows import Attempt, Escalation
from fhir_hub_bridge.store.outbox import Claimed, claim, hand_back, hasten, record
from fhir_hub_bridge.store.resources import history, read
from fhir_hub_bridge.store.transaction import Store, StoreLimits, open_store

LEASE = timedelta(seconds=60)
SECOND = timedelta(seconds=1)


def an_attempt(outcome: str = "accepted", *, after: timedelta = SECOND, **parts: Any) -> Attempt:
    return Attempt(NOW + after, NOW + after + SECOND, outcome, parts.pop("detail", ""), **parts)


async def claimed(store: Store, *, after: timedelta = timedelta(0), **how: Any) -> list[Claimed]:
    how = {"limit": 50, "lease": LEASE, **how}
    return await store.write(claim, now=NOW + after, **how)


async def recorded(
    store: Store, one: Claimed, attempt: Attempt, *, again_in: timedelta | None = None, **how: Any
) -> bool:
    next_at = None if again_in is None else NOW + again_in
    return await store.write(record, one, attempt, next_attempt_at=next_at, told=told, **how)


async def stands(store: Store, one: Owed) -> NoticeRecord:
    found = await store.read(notices_of, one.referral_id)
    return next(n for n in found if n.id == one.id)


async def tries(store: Store, one: Owed) -> list[tuple[str, str]]:
    found = await store.read(attempts_of, [one.id])
    return [(a.outcome, a.detail) for a in found.get(one.id, [])]


async def test_a_claimed_notice_carries_all_that_sending_takes(store: Store) -> None:
    (one,) = a_lane("a")
    await store.write(store_owed, [one])

    (found,) = await claimed(store)

    assert found.id == one.id
    assert found.message == one.body
    assert found.sha256 == one.sha256
    assert found.due_at == NOW + timedelta(days=10)
    assert (found.token, found.lease_until) == (1, NOW + LEASE)
    assert (found.attempts, found.refusals, found.sent_at, found.escalated) == (0, 0, None, False)
    assert "resourceType" not in repr(found)


async def test_the_oldest_due_are_claimed_first_and_only_those_due(store: Store) -> None:
    lanes = [a_lane(str(n), at=NOW + n * SECOND)[0] for n in (3, -2, -1, 0, 1)]
    await store.write(store_owed, lanes)

    first = await claimed(store, limit=2)
    rest = await claimed(store)

    assert [c.id for c in first] == [lanes[1].id, lanes[2].id]
    assert [c.id for c in rest] == [lanes[3].id]


@pytest.mark.parametrize(
    "columns",
    [
        {"state": "confirmed"},
        {"state": "withheld"},
        {"lease_until": to_micros(NOW + SECOND)},
    ],
)
async def test_what_has_ended_or_is_leased_is_not_claimed(
    store: Store, columns: dict[str, Any]
) -> None:
    await store.write(store_owed, a_lane("a", **columns))

    assert await claimed(store) == []


async def test_a_notice_without_a_method_waits_for_a_person(store: Store) -> None:
    await store.write(store_owed, a_lane("a", method=""))

    assert await claimed(store) == []


async def test_a_partner_passed_over_keeps_its_notices(store: Store) -> None:
    await store.write(store_owed, a_lane("a", recipient="down") + a_lane("b", recipient="up"))

    found = await claimed(store, passing_over={"down"})

    assert [c.recipient for c in found] == ["up"]


async def test_a_lane_goes_out_in_its_order_one_at_a_time(store: Store) -> None:
    lane = a_lane("a", notices=3)
    await store.write(store_owed, lane)

    order = []
    for _ in range(4):
        for one in await claimed(store):
            order.append(one.id)
            assert await claimed(store) == []
            await recorded(store, one, an_attempt())

    assert order == [one.id for one in lane]


async def test_a_refused_notice_holds_its_own_lane_and_no_other(store: Store) -> None:
    held, other = a_lane("a", notices=2), a_lane("b", notices=2)
    await store.write(store_owed, [*held, *other])
    for one in await claimed(store):
        if one.id == held[0].id:
            await recorded(store, one, an_attempt("refused"), again_in=timedelta(minutes=5))
        else:
            await recorded(store, one, an_attempt())

    found = await claimed(store, after=2 * SECOND)

    assert [c.id for c in found] == [other[1].id]


async def test_another_recipient_of_the_same_referral_has_its_own_lane(store: Store) -> None:
    first, second = a_lane("a", notices=2)
    second.row["recipient"] = "hub"
    await store.write(store_owed, [first, second])

    found = await claimed(store)

    assert {c.id for c in found} == {first.id, second.id}


async def test_the_lane_waits_with_its_first_notice_and_goes_on_with_it(store: Store) -> None:
    lane = a_lane("a", notices=3)
    await store.write(store_owed, lane)
    (one,) = await claimed(store)
    later = timedelta(minutes=10)
    await recorded(store, one, an_attempt("unavailable"), again_in=later)

    waiting = [(await stands(store, follower)).next_attempt_at for follower in lane[1:]]
    (again,) = await claimed(store, after=later)
    await recorded(store, again, an_attempt(after=later))
    (follower,) = await claimed(store, after=later + 2 * SECOND)

    assert waiting == [NOW + later, NOW + later]
    assert again.attempts == 1
    assert follower.id == lane[1].id


async def test_an_accepted_notice_is_confirmed_with_its_attempt_and_its_communication(
    store: Store,
) -> None:
    (one,) = a_lane("a")
    await store.write(store_owed, [one])
    (found,) = await claimed(store)

    kept = await recorded(store, found, an_attempt(status=201))

    after = await stands(store, one)
    communication = await store.read(read, "Communication", one.communication_id)
    assert kept
    assert (after.state, after.attempts, after.confirmed_at) == ("confirmed", 1, NOW + 2 * SECOND)
    assert (after.sent_at, after.accepted_at) == (NOW + SECOND, NOW + 2 * SECOND)
    assert after.received_at is None
    assert await tries(store, one) == [("accepted", "")]
    assert communication.version == 2
    assert communication.parsed()["status"] == "completed"
    assert communication.parsed()["sent"] == "2026-11-23T18:00:01.000Z"


async def test_a_dropped_file_is_sent_and_neither_accepted_nor_received(store: Store) -> None:
    (one,) = a_lane("a", method="file-drop")
    await store.write(store_owed, [one])
    (found,) = await claimed(store)

    await recorded(store, found, an_attempt("sent"), again_in=timedelta(days=1))

    after = await stands(store, one)
    assert (after.state, after.sent_at) == ("pending", NOW + 2 * SECOND)
    assert (after.accepted_at, after.received_at, after.confirmed_at) == (None, None, None)


async def test_an_acknowledged_drop_is_received(store: Store) -> None:
    (one,) = a_lane("a", method="file-drop")
    await store.write(store_owed, [one])
    (found,) = await claimed(store)

    await recorded(store, found, an_attempt("received"))

    after = await stands(store, one)
    assert (after.state, after.received_at) == ("confirmed", NOW + 2 * SECOND)


async def test_a_notice_in_trouble_is_marked_with_its_person_once(store: Store) -> None:
    (one,) = a_lane("a")
    await store.write(store_owed, [one])
    for who, after in (("first", 0 * SECOND), ("second", timedelta(hours=2))):
        (found,) = await claimed(store, after=after)
        await recorded(
            store,
            found,
            an_attempt("refused", after=after + SECOND),
            again_in=timedelta(hours=1),
            escalation=Escalation(to=who, why=f"told to {who}"),
        )

    (found,) = await claimed(store, after=timedelta(hours=4))

    stood = await stands(store, one)
    assert (stood.state, stood.escalated_to, stood.escalated_why) == (
        "pending",
        "first",
        "told to first",
    )
    assert stood.escalated_at == NOW + 2 * SECOND
    assert (found.escalated, found.attempts, found.refusals) == (True, 2, 2)


async def test_an_expired_lease_is_taken_over_and_the_late_worker_cannot_record(
    store: Store,
) -> None:
    (one,) = a_lane("a")
    await store.write(store_owed, [one])
    (late,) = await claimed(store)
    (owner,) = await claimed(store, after=LEASE)
    await recorded(store, owner, an_attempt("unavailable", after=LEASE), again_in=2 * LEASE)

    kept = await recorded(store, late, an_attempt(status=200))

    after = await stands(store, one)
    assert not kept
    assert (late.token, owner.token) == (1, 2)
    assert (after.state, after.next_attempt_at) == ("pending", NOW + 2 * LEASE)
    assert after.sent_at == NOW + SECOND  # that it went out is true whoever owns the notice
    assert await tries(store, one) == [("unavailable", ""), ("lease-lost", "accepted")]


async def test_an_expired_lease_that_nobody_took_still_records(store: Store) -> None:
    (one,) = a_lane("a")
    await store.write(store_owed, [one])
    (late,) = await claimed(store)

    assert await recorded(store, late, an_attempt(after=2 * LEASE))


@pytest.mark.parametrize("again_in", [None, timedelta(minutes=1)], ids=["confirmed", "again"])
async def test_the_same_attempt_is_recorded_once_however_often_it_is_told(
    store: Store, again_in: timedelta | None
) -> None:
    (one,) = a_lane("a")
    await store.write(store_owed, [one])
    (found,) = await claimed(store)

    kept = [await recorded(store, found, an_attempt(), again_in=again_in) for _ in range(3)]

    assert kept == [True, True, True]
    assert await tries(store, one) == [("accepted", "")]


async def test_an_attempt_on_an_ended_notice_changes_nothing_but_the_history(
    store: Store,
) -> None:
    (one,) = a_lane("a")
    await store.write(store_owed, [one])
    (first,) = await claimed(store)
    (second,) = await claimed(store, after=LEASE)
    await recorded(store, second, an_attempt(after=LEASE))

    kept = [await recorded(store, first, an_attempt("refused")) for _ in range(2)]

    assert kept == [False, False]
    assert (await stands(store, one)).state == "confirmed"
    assert await tries(store, one) == [("accepted", ""), ("lease-lost", "refused")]
    versions = await store.read(history, "Communication", one.communication_id)
    assert [v.version for v in versions] == [2, 1]


async def test_a_lease_handed_back_is_free_at_once_unless_it_was_taken_over(
    store: Store,
) -> None:
    await store.write(store_owed, a_lane("a") + a_lane("b"))
    both = await claimed(store)
    (owner,) = await claimed(store, after=LEASE, limit=1)

    await store.write(hand_back, both)

    free = await claimed(store, after=LEASE)
    assert [c.id for c in free] == [c.id for c in both if c.id != owner.id]


async def test_a_partner_that_is_back_gets_at_once_what_waited_for_it_only(store: Store) -> None:
    later = timedelta(hours=6)
    outcomes = ("unavailable", "refused", "sent", "unavailable")
    lanes = [a_lane(name)[0] for name in outcomes[:3]] + a_lane("other", recipient="hub")
    await store.write(store_owed, lanes)
    by_id = {lane.id: outcome for lane, outcome in zip(lanes, outcomes, strict=True)}
    for one in await claimed(store):
        await recorded(store, one, an_attempt(by_id[one.id]), again_in=later)

    moved = await store.write(hasten, recipient="ehr", now=NOW + LEASE, limit=10)

    assert moved == 1
    assert [c.id for c in await claimed(store, after=LEASE)] == [lanes[0].id]


@pytest.mark.parametrize("workers", [8])
async def test_concurrent_workers_claim_every_notice_exactly_once(
    database_url: str, tables: None, workers: int
) -> None:
    stores = [await open_store(database_url, limits=StoreLimits(connections=2)) for _ in range(4)]
    try:
        for start in range(0, 400, 50):
            lanes = [a_lane(str(n))[0] for n in range(start, start + 50)]
            await stores[0].write(store_owed, lanes)

        async def work(number: int) -> list[str]:
            found: list[str] = []
            while batch := await claimed(stores[number % 4], limit=7):
                found += [one.id for one in batch]
            return found

        claims = await asyncio.gather(*(work(number) for number in range(workers)))
    finally:
        for opened in stores:
            await opened.close()

    counts = Counter(id_ for found in claims for id_ in found)
    assert len(counts) == 400
    assert set(counts.values()) == {1}


async def test_of_two_workers_recording_one_claim_one_keeps_it(store: Store) -> None:
    lanes = [a_lane(str(n))[0] for n in range(20)]
    await store.write(store_owed, lanes)
    first = {c.id: c for c in await claimed(store)}
    second = {c.id: c for c in await claimed(store, after=LEASE)}

    kept = await asyncio.gather(
        *(
            recorded(store, one, an_attempt(after=n * LEASE))
            for id_ in first
            for n, one in enumerate((first[id_], second[id_]))
        )
    )

    assert kept == [False, True] * 20
    attempts = await store.read(attempts_of, list(first))
    assert all(
        sorted(a.outcome for a in found) == ["accepted", "lease-lost"]
        for found in attempts.values()
    )


async def test_a_claim_reads_the_partial_index(store: Store) -> None:
    def plan(conn: Connection) -> str:
        seen: list[tuple[str, Any]] = []

        def keep(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
            seen.append((statement, parameters))

        if store.dialect == "postgresql":
            # As the driver's prepared statement is planned once it was used often.
            conn.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
            conn.execute(text("SET LOCAL enable_seqscan = off"))
        event.listen(conn, "before_cursor_execute", keep)
        claim(conn, now=NOW, lease=LEASE, limit=20)
        event.remove(conn, "before_cursor_execute", keep)
        explain = "EXPLAIN" if store.dialect == "postgresql" else "EXPLAIN QUERY PLAN"
        rows = conn.exec_driver_sql(f"{explain} {seen[0][0]}", seen[0][1])
        return "\n".join(str(row) for row in rows)

    found = await store.write(plan)

    assert "notice_due" in found
    assert "SCAN earlier" not in found
    assert "Seq Scan" not in found
