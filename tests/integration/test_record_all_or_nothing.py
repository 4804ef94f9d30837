"""Nothing is stored by halves: whatever step fails, every table is as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection
from tests.builders import (
    HARBOR,
    HEARTH,
    TODAY,
    a_bundle,
    a_closure,
    a_decision,
    a_recording,
    a_refer,
    a_report,
    a_task,
    an_assignment,
    assigned_output,
    decided_output,
    posted,
    put,
    reason,
    referral_bundle,
    register,
    said,
    told,
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
    referrals,
    the_referral,
    versions,
)

from fhir_hub_bridge.errors import RuleBroken
from fhir_hub_bridge.intake import receive_fhir, task_posted
from fhir_hub_bridge.intake.fhir_request import read_entries
from fhir_hub_bridge.intake.record_referral import record_referral
from fhir_hub_bridge.referral.model import Act, Assign, Decide, Refer, ReferralUpdate, Report
from fhir_hub_bridge.store.partners import all_partners
from fhir_hub_bridge.store.referrals import events_of, load
from fhir_hub_bridge.store.transaction import Store
from fhir_hub_bridge.store.writes import Writes


class Broken(Exception):
    """The last step fails."""


@pytest.fixture(autouse=True)
async def _partners(store: Store) -> None:
    await register(store)


def failing_after(function: Callable[..., Any]) -> Callable[..., Any]:
    def fails(*args: Any, **kwargs: Any) -> Any:
        function(*args, **kwargs)
        raise Broken

    return fails


@pytest.mark.parametrize("step", ["remembering", "_answer"])
async def test_when_the_last_step_fails_nothing_is_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    task = await refer(store)
    before = await counts(store)
    monkeypatch.setattr(receive_fhir, step, failing_after(getattr(receive_fhir, step)))
    resource = await now(store, f"Task/{task}")
    acts = {**resource, "output": [*decided_output(), *assigned_output()]}

    for asked in (posted(referral_bundle("R-2")), put(acts, caller="plan")):
        with pytest.raises(Broken):
            await ask(store, asked)

    monkeypatch.undo()
    assert await counts(store) == before
    assert len(await versions(store, f"Task/{task}")) == 1
    await decide_and_assign(store, task)  # and all of it can be done again


async def test_of_a_bundle_with_one_bad_entry_nothing_is_stored(store: Store) -> None:
    task = await refer(store)
    resource = await now(store, f"Task/{task}")
    body = referral_bundle("R-2")
    illegal = {**resource, "status": "completed", "statusReason": reason("services-received")}
    body["entry"] += a_bundle((f"PUT Task/{task}", "", illegal))["entry"]
    before = await counts(store)

    with pytest.raises(RuleBroken):
        await ask(store, posted(body, caller="plan"))

    assert await counts(store) == before


async def test_both_tasks_of_one_referral_may_change_in_one_bundle(store: Store) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    parent, child = await now(store, f"Task/{task}"), await now(store, f"Task/{theirs}")
    body = a_bundle(
        (f"PUT Task/{theirs}", "", {**child, "status": "accepted"}),
        (f"PUT Task/{task}", "", {**parent, "description": "A note"}),
    )

    await ask(store, posted(body, caller="plan"))

    assert (await now(store, f"Task/{theirs}"))["status"] == "accepted"
    after = await now(store, f"Task/{task}")
    assert after["description"] == "A note"
    assert [e.number for e in await events(store, await the_referral(store, task))] == [1, 2, 3, 4]


async def test_an_act_that_is_refused_leaves_nothing_on_the_caller_s_writes(store: Store) -> None:
    """A file's unit goes on after a refused row: what that row had begun must not be flushed."""
    update = ReferralUpdate(
        told(),
        (a_refer(), a_decision(), an_assignment(), a_report("accepted", provider=HEARTH)),
    )

    def unit(conn: Connection) -> int:
        writes = Writes()
        with pytest.raises(RuleBroken):
            record_referral(
                conn,
                update,
                stored=None,
                partners=all_partners(conn),
                recording=a_recording(),
                writes=writes,
            )
        return len(writes.batches)

    assert await store.write(unit) == 0


@pytest.mark.parametrize(
    "act",
    [
        a_refer(self_referral=True, replaces="ServiceRequest/1", population_of_focus="adults"),
        a_decision("pending", basis="presumptive", starts_on=TODAY, ends_on=TODAY),
        a_decision("denied", reason_code="C1"),
        an_assignment(),
        a_report("pending"),
        a_closure("other", text="Made-up words", plan_code="P1"),
    ],
    ids=lambda act: f"{type(act).__name__} {getattr(act, 'status', '')}",
)
async def test_every_kind_of_act_comes_back_from_the_history_as_it_was_told(
    store: Store, act: Act
) -> None:
    first = act if isinstance(act, Refer) else a_refer()
    story: tuple[Act, ...] = (first,)
    if isinstance(act, Decide):
        story = (first, act)
    elif isinstance(act, Assign | Report):
        story = (first, a_decision(), an_assignment(HARBOR))
        story = story if isinstance(act, Assign) else (*story, act)

    def unit(conn: Connection) -> str:
        writes = Writes()
        recorded = record_referral(
            conn,
            ReferralUpdate(told(), story),
            stored=None,
            partners=all_partners(conn),
            recording=a_recording(),
            writes=writes,
        )
        writes.flush(conn)
        assert load(conn, recorded.referral.id).referral == recorded.referral
        return recorded.referral.id

    id_ = await store.write(unit)

    history = await store.read(events_of, id_)
    assert [e.act for e in history if e.act is not None] == list(story)
    assert all(e.told == told() for e in history)
    await referrals(store)


async def test_a_unit_that_runs_twice_mints_the_same_ids(store: Store) -> None:
    asked = posted(referral_bundle())
    recording = a_recording(seed="once")
    ids: list[bytes] = []

    for _ in range(2):

        def unit(conn: Connection) -> None:
            entries = read_entries(asked, bases=[recording.base_url], library=recording.library)
            ids.append(receive_fhir.receive_unit(conn, asked, entries, recording).body)
            raise Broken

        with pytest.raises(Broken):
            await store.write(unit)

    assert ids[0] == ids[1]


async def test_writers_at_once_leave_one_unbroken_history(store: Store) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    await provider_says(store, theirs, status="accepted")
    resource = {k: v for k, v in (await now(store, f"Task/{theirs}")).items() if k != "meta"}
    on = [TODAY.replace(day=day) for day in range(6, 14)]

    await asyncio.gather(
        *(
            ask(store, put({**resource, "businessStatus": said("accepted", day)}, caller="harbor"))
            for day in on
        ),
        return_exceptions=False,
    )

    stored = await the_referral(store, task)
    history = await events(store, stored)
    assert [e.number for e in history] == list(range(1, 5 + len(on)))
    assert len(await notices(store, stored)) == 2 + sum(e.moved for e in history[3:])
    kept = await versions(store, f"Task/{theirs}")
    assert [int(t["meta"]["versionId"]) for t in kept] == list(range(1, len(kept) + 1))
    await referrals(store)


async def test_an_answer_that_another_worker_gave_meanwhile_is_given_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await ask(store, posted(referral_bundle("R-1")))
    before = await counts(store)
    found = task_posted.answered_before
    looks: list[str] = []

    def look(*args: Any) -> Any:
        looks.append("")
        return None if len(looks) == 1 else found(*args)  # the first one comes too early

    monkeypatch.setattr(receive_fhir, "answered_before", look)
    body = referral_bundle("R-1", task=a_task(priority="urgent"))

    again = await ask(store, posted(body))

    assert again == first
    assert await counts(store) == before
