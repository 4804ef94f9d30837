"""The same again: how it is known, what is answered, and that nothing is stored twice."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.builders import (
    NOW,
    REQUEST,
    TASK,
    a_bundle,
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

from fhir_hub_bridge.errors import Conflict, ResourceRejected, VersionConflict
from fhir_hub_bridge.intake.receive_fhir import Asked
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

    first = await ask(store, posted(referral_bundle(request=nameless), key="k-1"))
    again = await ask(
        store,
        posted(referral_bundle(request=nameless, task=a_task(**ANOTHER_BODY)), key="k-1"),
    )
    other = await ask(
        store,
        posted(referral_bundle(request=nameless, task=a_task(priority="asap")), key="k-2"),
    )

    assert again == first
    assert other != first
    assert len(await referrals(store)) == 2


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


async def test_an_update_that_is_right_again_is_done_again(store: Store) -> None:
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    resource = {k: v for k, v in (await now(store, f"Task/{theirs}")).items() if k != "meta"}

    for status in ("accepted", "in-progress", "on-hold", "in-progress"):
        # each body as a client that keeps no version would write it
        spoken = {"businessStatus": said("outreach-initiated")} if status != "accepted" else {}
        await ask(store, put({**resource, **spoken, "status": status}, caller="harbor"))

    assert (await now(store, f"Task/{theirs}"))["status"] == "in-progress"


async def test_the_plan_s_acts_twice_make_one_version_and_one_notice_each(store: Store) -> None:
    task = await refer(store)
    resource = await now(store, f"Task/{task}")
    body = {**resource, "output": [*decided_output(), *assigned_output()]}
    act = posted(a_bundle((f"PUT Task/{task}", "", body)), caller="plan")

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

    answers = await asyncio.gather(*(ask(store, posted(body, key="k-1")) for body in bodies))

    assert len({answer.body for answer in answers}) == 1
    assert len(await referrals(store)) == 1
