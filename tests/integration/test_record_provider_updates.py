"""A provider's Task through all its states, and every way in which an update is refused or kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, select
from tests.builders import (
    CIN,
    CLINIC,
    HARBOR,
    TODAY,
    a_service_request,
    a_task,
    an_agreement,
    put,
    reason,
    register,
    said,
)
from tests.stored_loops import (
    ask,
    counts,
    decide_and_assign,
    events,
    notices,
    now,
    provider_says,
    provider_tells,
    refer,
    referrals,
    the_referral,
    versions,
)

from fhir_hub_bridge.errors import Conflict, ResourceRejected, RuleBroken, Unknown, UnmappedCode
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import parse_json
from fhir_hub_bridge.intake.record_referral import resource_ids
from fhir_hub_bridge.mapping.codings import code_in
from fhir_hub_bridge.referral.model import EventKind
from fhir_hub_bridge.store.tables import notice, resource
from fhir_hub_bridge.store.transaction import Store

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
async def _partners(store: Store) -> None:
    await register(store)


@pytest.fixture
async def task(store: Store) -> str:
    """The plan's Task, approved and assigned to Harbor today."""
    task = await refer(store)
    await decide_and_assign(store, task)
    return task


@pytest.fixture
async def theirs(store: Store, task: str) -> str:
    """Harbor's Task."""
    return resource_ids(await the_referral(store, task)).assignments[0].task


async def flags(store: Store, task: str) -> list[tuple[str, ...]]:
    return [event.flags for event in await events(store, await the_referral(store, task))]


@pytest.mark.requirement("refer-6")
async def test_a_provider_s_task_through_all_its_states(
    store: Store, task: str, theirs: str
) -> None:
    await provider_says(store, theirs, status="accepted")
    await provider_says(store, theirs, status="in-progress")
    await provider_says(store, theirs, status="on-hold", statusReason={"text": "Away"})
    await provider_says(store, theirs, status="in-progress")
    await provider_says(store, theirs, status="completed", statusReason=reason("services-received"))

    shown = [
        (t["status"], code_in(t["businessStatus"], canonical.REFERRAL_STATUS))
        for t in await versions(store, f"Task/{theirs}")
    ]
    assert shown == [
        ("requested", "pending"),
        ("accepted", "accepted"),
        ("in-progress", "outreach-initiated"),
        ("on-hold", "outreach-initiated"),
        ("in-progress", "outreach-initiated"),
        ("completed", "loop-closed"),
    ]
    stored = await the_referral(store, task)
    assert stored.referral.closure
    assert (stored.referral.closure.reason, stored.referral.closure.on) == (
        "services-received",
        TODAY,
    )
    assert [n.type for n in await notices(store, stored)] == [
        "authorization-decided",
        "provider-assigned",
        "status-changed",
        "status-changed",
        "loop-closed",
    ]
    copies = resource_ids(stored).assignments[0]
    assert (await now(store, f"ServiceRequest/{copies.service_request}"))["status"] == "completed"
    assert (await now(store, f"ServiceRequest/{resource_ids(stored).service_request}"))[
        "status"
    ] == "active"  # another's: never changed


async def test_the_reason_of_a_pause_is_kept_while_it_lasts(store: Store, theirs: str) -> None:
    await provider_says(store, theirs, status="accepted")
    await provider_says(store, theirs, status="on-hold", statusReason={"text": "Away"})
    paused = await now(store, f"Task/{theirs}")
    resumed = {k: v for k, v in paused.items() if k != "statusReason"}

    await ask(store, put({**resumed, "status": "in-progress"}, caller="harbor"))

    after = await now(store, f"Task/{theirs}")
    assert paused["statusReason"] == {"text": "Away"}
    assert "statusReason" not in after
    assert after["status"] == "in-progress"


async def test_resuming_after_a_pause_says_nothing_new(
    store: Store, task: str, theirs: str
) -> None:
    await provider_says(store, theirs, status="accepted")
    await provider_says(store, theirs, status="on-hold")

    await provider_says(store, theirs, status="in-progress")

    after = await now(store, f"Task/{theirs}")
    assert after["status"] == "in-progress"
    assert code_in(after["businessStatus"], canonical.REFERRAL_STATUS) == "accepted"
    assert (await the_referral(store, task)).events == 4


async def test_what_goes_out_shows_the_plan_s_task_only_and_no_word_of_the_provider(
    store: Store,
) -> None:
    agreed = an_agreement(every_status=True, task_view=True)
    await register(store, [replace(CLINIC, agreement=agreed)])
    task = await refer(store)
    theirs = await decide_and_assign(store, task)
    await provider_says(
        store,
        theirs,
        status="accepted",
        statusReason={"text": "TEXTCANARY"},
        note=[{"text": "NOTECANARY"}],
    )
    closing = reason("services-received", "TEXTCANARY")
    closing["coding"].append({"system": "https://plan.example", "code": "PLANCANARY"})
    await provider_says(store, theirs, businessStatus=said("loop-closed"), statusReason=closing)

    messages = await store.read(sent_out)

    ids = resource_ids(await the_referral(store, task)).assignments[0]
    for body in messages:
        for word in ("CANARY", "Madeup", CIN, ids.task, ids.service_request):
            assert word.encode() not in body
    views = [parse_json(body)["entry"][1]["resource"] for body in messages]
    assert [view["status"] for view in views] == [
        "accepted",
        "in-progress",
        "in-progress",
        "completed",
    ]
    assert views[-1]["output"][0]["valueCodeableConcept"]["text"] == "Approved"
    assert views[-1]["output"][1]["valueReference"]["display"] == HARBOR.name


def sent_out(conn: Connection) -> list[bytes]:
    query = select(notice.c.message).order_by(notice.c.lane)
    return [bytes(body) for body in conn.execute(query).scalars()]


@pytest.mark.parametrize(
    ("why", "status", "end"),
    [
        ("unable-to-reach", "failed", "failed"),
        ("member-declined", "cancelled", "cancelled"),
        ("no-longer-eligible", "cancelled", "cancelled"),
        ("other", "failed", "failed"),
        ("unable-to-reach", "cancelled", "failed"),
    ],
)
async def test_a_provider_closes_without_service(
    store: Store, theirs: str, why: str, status: str, end: str
) -> None:
    await provider_says(store, theirs, status="accepted")

    await provider_says(store, theirs, status=status, statusReason=reason(why))

    stored = await the_referral(store, theirs)
    assert (await now(store, f"Task/{theirs}"))["status"] == end
    assert (await now(store, f"Task/{resource_ids(stored).task}"))["status"] == end
    assert stored.referral.closure
    assert stored.referral.closure.reason == why


async def test_a_status_may_be_told_in_so_many_words_and_dated(
    store: Store, task: str, theirs: str
) -> None:
    await provider_tells(store, theirs, "outreach-initiated", TODAY)

    assert [t["status"] for t in await versions(store, f"Task/{theirs}")] == [
        "requested",
        "accepted",
        "in-progress",
    ]
    assert (await flags(store, task))[-1] == ()


async def test_a_status_dated_before_what_is_known_is_kept_and_flagged(
    store: Store, task: str, theirs: str
) -> None:
    await provider_tells(store, theirs, "outreach-initiated", TODAY)
    before = await now(store, f"Task/{theirs}")

    await provider_tells(store, theirs, "accepted", TODAY - 2 * DAY)

    assert (await flags(store, task))[-1] == ("late",)
    after = await now(store, f"Task/{theirs}")
    assert {k: v for k, v in after.items() if k not in ("meta", "lastModified")} == {
        k: v for k, v in before.items() if k not in ("meta", "lastModified")
    }
    assert len(await notices(store, await the_referral(store, task))) == 3


async def test_the_same_status_with_another_date_is_kept(
    store: Store, task: str, theirs: str
) -> None:
    await provider_tells(store, theirs, "accepted", TODAY - DAY)
    await provider_tells(store, theirs, "accepted", TODAY)

    assert (await flags(store, task))[-1] == ("repeated",)


async def test_a_status_after_the_closure_is_kept_flagged_and_not_applied(
    store: Store, task: str, theirs: str
) -> None:
    await provider_says(
        store, theirs, businessStatus=said("loop-closed"), statusReason=reason("services-received")
    )
    owed = len(await notices(store, await the_referral(store, task)))

    await provider_tells(store, theirs, "outreach-initiated", TODAY)

    stored = await the_referral(store, task)
    assert (await flags(store, task))[-1] == ("after-closure",)
    assert (await now(store, f"Task/{theirs}"))["status"] == "completed"
    assert (await now(store, f"Task/{task}"))["status"] == "completed"
    assert len(await notices(store, stored)) == owed
    await referrals(store)  # each is what its events make of it


async def test_a_decline_leaves_the_loop_open_for_another(
    store: Store, task: str, theirs: str
) -> None:
    await provider_says(store, theirs, status="rejected", statusReason={"text": "No capacity"})

    stored = await the_referral(store, task)
    assert stored.referral.closure is None
    assert (await now(store, f"Task/{task}"))["status"] == "in-progress"
    assert (await now(store, f"Task/{theirs}"))["statusReason"]["text"] == "No capacity"
    second = await decide_and_assign(store, task, "hearth")
    await provider_says(store, second, caller="hearth", status="accepted")
    assert [n.type for n in await notices(store, await the_referral(store, task))] == [
        "authorization-decided",
        "provider-assigned",
        "status-changed",
        "provider-assigned",
        "status-changed",
    ]


async def test_what_the_first_provider_tells_later_is_kept_for_a_person(
    store: Store, task: str, theirs: str
) -> None:
    await provider_says(store, theirs, status="rejected")
    await decide_and_assign(store, task, "hearth")

    await provider_says(
        store, theirs, businessStatus=said("loop-closed"), statusReason=reason("services-received")
    )

    assert (await flags(store, task))[-1] == ("after-reassignment",)
    assert (await the_referral(store, task)).referral.closure is None


async def test_a_provider_that_closes_with_provider_declined_ends_its_task_only(
    store: Store, task: str, theirs: str
) -> None:
    await provider_says(store, theirs, status="accepted")

    await provider_says(store, theirs, status="failed", statusReason=reason("provider-declined"))

    stored = await the_referral(store, task)
    assert stored.referral.closure is None
    assert (await now(store, f"Task/{theirs}"))["status"] == "failed"
    parent = await now(store, f"Task/{task}")
    assert parent["status"] == "in-progress"
    assert code_in(parent["businessStatus"], canonical.REFERRAL_STATUS) == "declined"


@pytest.mark.parametrize(
    ("old", "new"), [("requested", "completed"), ("requested", "on-hold"), ("accepted", "rejected")]
)
async def test_an_illegal_step_names_from_to_and_the_rule(
    store: Store, theirs: str, old: str, new: str
) -> None:
    if old == "accepted":
        await provider_says(store, theirs, status="accepted")
    before = await counts(store)

    with pytest.raises(RuleBroken) as refused:
        await provider_says(store, theirs, status=new)

    assert refused.value.rule == "task-transition"
    assert old in str(refused.value)
    assert new in str(refused.value)
    assert await counts(store) == before


@pytest.mark.requirement("refer-9")
async def test_a_completed_task_means_that_services_were_received(
    store: Store, theirs: str
) -> None:
    await provider_says(store, theirs, status="accepted")

    await provider_says(store, theirs, status="completed", statusReason={"text": "Done"})

    task = await now(store, f"Task/{theirs}")
    assert task["statusReason"]["coding"][0]["code"] == "services-received"
    assert [output["type"]["coding"][0]["code"] for output in task["output"]] == [
        "resulting-activity"
    ]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_a_provider_does_not_close_without_a_reason(
    store: Store, theirs: str, status: str
) -> None:
    await provider_says(store, theirs, status="accepted")
    before = await counts(store)

    with pytest.raises(RuleBroken) as refused:
        await provider_says(store, theirs, status=status, statusReason={"text": "Done"})

    assert refused.value.rule == "closure-needs-reason"
    assert await counts(store) == before


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"statusReason": reason("went-well")}, ""),
        ({"statusReason": reason("unable-to-reach")}, "status-disagrees"),
        ({"businessStatus": said("outreach-initiated")}, "status-disagrees"),
        ({"businessStatus": said("nearly-there")}, "unknown-status"),
        (
            {
                "businessStatus": said("loop-closed", TODAY + DAY),
                "statusReason": reason("services-received"),
            },
            "future-date",
        ),
        (
            {
                "businessStatus": said("loop-closed", date(2026, 11, 1)),
                "statusReason": reason("services-received"),
            },
            "before-referral",
        ),
    ],
)
async def test_a_closure_that_does_not_hold_together_is_refused(
    store: Store, theirs: str, changes: dict[str, Any], rule: str
) -> None:
    await provider_says(store, theirs, status="accepted")
    before = await counts(store)

    with pytest.raises((RuleBroken, ResourceRejected, UnmappedCode)) as refused:
        await provider_says(store, theirs, status="completed", **changes)

    assert {issue.rule for issue in refused.value.issues} <= {rule}
    assert await counts(store) == before


@pytest.mark.parametrize("caller", ["hearth", "clinic"])
@pytest.mark.parametrize(
    "changes",
    [
        {"status": "accepted"},
        {"businessStatus": said("accepted")},
        {"businessStatus": said("loop-closed"), "statusReason": reason("services-received")},
        {"description": "A stranger's note"},
    ],
    ids=["step", "words", "closure", "note"],
)
async def test_nobody_else_changes_a_provider_s_task(
    store: Store, theirs: str, caller: str, changes: dict[str, Any]
) -> None:
    before = await counts(store)

    with pytest.raises(RuleBroken) as refused:
        await provider_says(store, theirs, caller=caller, **changes)

    assert refused.value.rule == "wrong-party"
    assert await counts(store) == before


async def test_a_provider_does_not_close_the_plan_s_task(
    store: Store, task: str, theirs: str
) -> None:
    del theirs
    with pytest.raises(RuleBroken) as refused:
        await provider_says(
            store,
            task,
            businessStatus=said("loop-closed"),
            statusReason=reason("services-received"),
        )

    assert refused.value.rule == "wrong-party"
    assert (await the_referral(store, task)).referral.closure is None


@pytest.mark.parametrize("status", ["failed", "completed", "on-hold"])
async def test_a_referrer_only_cancels_the_plan_s_task(
    store: Store, task: str, status: str
) -> None:
    with pytest.raises(RuleBroken):
        await provider_says(
            store, task, caller="clinic", status=status, statusReason=reason("other")
        )


async def test_an_earlier_provider_does_not_speak_on_the_next_one_s_task(
    store: Store, task: str, theirs: str
) -> None:
    await provider_says(store, theirs, status="rejected")
    second = await decide_and_assign(store, task, "hearth")

    with pytest.raises(RuleBroken) as refused:
        await provider_says(
            store,
            second,
            caller="harbor",
            businessStatus=said("loop-closed"),
            statusReason=reason("services-received"),
        )

    assert refused.value.rule == "wrong-party"


async def test_a_hub_and_the_plan_may_report_for_a_provider(
    store: Store, task: str, theirs: str
) -> None:
    await provider_says(store, theirs, caller="hub", status="accepted")
    await provider_says(store, theirs, caller="plan", status="in-progress")

    told = [e.told.by.partner for e in await events(store, await the_referral(store, task))]
    assert told[-2:] == ["hub", "plan"]


async def test_an_old_copy_that_would_undo_a_status_is_a_conflict(
    store: Store, theirs: str
) -> None:
    old = await now(store, f"Task/{theirs}")
    await provider_says(store, theirs, status="accepted")
    before = await counts(store)

    with pytest.raises(Conflict):
        await ask(store, put({**old, "description": "A note"}, caller="harbor"))

    assert await counts(store) == before


async def test_fixed_elements_may_be_written_in_other_words(store: Store, theirs: str) -> None:
    task = await now(store, f"Task/{theirs}")
    other = {"requester": {"reference": task["requester"]["reference"], "display": "The plan"}}

    await provider_says(store, theirs, status="accepted", **other)

    after = await now(store, f"Task/{theirs}")
    assert after["status"] == "accepted"
    assert after["requester"] == task["requester"]


async def test_nothing_of_a_referral_is_entered_in_error(store: Store, task: str) -> None:
    with pytest.raises(RuleBroken):
        await provider_says(store, task, caller="plan", status="entered-in-error")


async def test_a_task_that_is_not_there_is_unknown(store: Store) -> None:
    with pytest.raises(Unknown):
        await ask(store, put({**a_task(), "id": "nobody"}, caller="plan"))


async def test_the_bridge_s_own_copies_are_changed_by_nobody(store: Store, task: str) -> None:
    ids = resource_ids(await the_referral(store, task))
    theirs = await now(store, f"ServiceRequest/{ids.assignments[0].service_request}")
    sent = await now(store, f"ServiceRequest/{ids.service_request}")

    for caller in ("plan", "harbor", "clinic", ""):
        with pytest.raises(RuleBroken):
            await ask(store, put({**theirs, "status": "revoked"}, caller=caller))
    with pytest.raises(RuleBroken):
        await ask(store, put({**sent, "status": "revoked"}, caller="plan"))
    await ask(store, put({**sent, "status": "completed"}, caller="clinic"))


async def test_what_a_client_leaves_out_stays_on_the_task(store: Store, theirs: str) -> None:
    before = await now(store, f"Task/{theirs}")
    named = (
        *("resourceType", "id", "requester", "owner", "for", "focus", "code", "intent"),
        *("partOf", "groupIdentifier"),
    )
    minimal = {name: before[name] for name in named} | {"description": "Harbor's own words"}

    await ask(store, put({**minimal, "status": "accepted"}, caller="harbor"))

    after = await now(store, f"Task/{theirs}")
    assert set(before) | {"description"} == set(after)
    kept = ("identifier", "authoredOn", "priority", "insurance")
    assert {k: after[k] for k in kept} == {k: before[k] for k in kept}
    assert (after["status"], after["description"]) == ("accepted", "Harbor's own words")


async def test_an_untracked_task_is_changed_as_sent(store: Store) -> None:
    stranger = {"display": "Somebody"}
    task = await refer(
        store,
        request=a_service_request(requester=stranger),
        task=a_task(owner=stranger, requester=stranger),
    )
    untracked = await now(store, f"Task/{task}")

    await ask(store, put({**untracked, "status": "completed"}))

    assert (await now(store, f"Task/{task}"))["status"] == "completed"
    assert await referrals(store) == []


async def test_every_update_leaves_a_provenance_of_its_versions(
    store: Store, task: str, theirs: str
) -> None:
    await provider_says(
        store, theirs, businessStatus=said("loop-closed"), statusReason=reason("services-received")
    )

    def provenances(conn: Connection) -> list[str]:
        query = select(resource.c.body).where(resource.c.type == "Provenance")
        return [
            target["reference"]
            for body in conn.execute(query).scalars()
            for target in parse_json(bytes(body))["target"]
        ]

    pointed_at = await store.read(provenances)
    for reference in (f"Task/{task}", f"Task/{theirs}"):
        for version in await versions(store, reference):
            assert f"{reference}/_history/{version['meta']['versionId']}" in pointed_at
    kinds = [e.kind for e in await events(store, await the_referral(store, task))]
    assert kinds[-1] is EventKind.LOOP_CLOSED
