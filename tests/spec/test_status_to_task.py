"""What each referral status makes of the provider's Task, and of the plan's above it."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from tests.builders import (
    ASSIGNED,
    ASSIGNED_TO_HARBOR,
    HEARTH,
    a_closure,
    a_decision,
    a_recording,
    a_report,
    a_rulebook,
    an_assignment,
    moments,
)

from fhir_hub_bridge.errors import RuleBroken
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.task_states import NEW, STATUSES, TERMINAL, TRANSITIONS, legal_path
from fhir_hub_bridge.mapping.codings import code_in
from fhir_hub_bridge.mapping.referral_to_fhir import ResourceIds, Translating, translate
from fhir_hub_bridge.mapping.sheet import Sheet
from fhir_hub_bridge.mapping.status_to_task import (
    CLOSING,
    TASK_STATUS,
    referral_status,
    task_status,
)
from fhir_hub_bridge.referral.model import Act, ReferralStatus

S = ReferralStatus
OPEN = [status for status in STATUSES if status not in TERMINAL and status != "draft"]
ENDS = {reason.task_status for reason in a_rulebook().closure_reasons.values()}


def versions(*acts: Act) -> tuple[list[Json], list[list[Json]]]:
    """Every version of the plan's Task, and of each provider's."""
    ids, minted = ResourceIds(), iter(f"id{n}" for n in range(1000))
    sheet = Sheet({})
    by = Translating(a_rulebook(), a_recording().now, lambda: next(minted))
    for event, referral in moments(*acts):
        ids = translate(referral, (event,), ids=ids, sheet=sheet, by=by)

    def of(reference: str) -> list[Json]:
        return [draft.resource for draft in sheet.drafts if draft.reference == reference]

    return of(f"Task/{ids.task}"), [of(f"Task/{a.task}") for a in ids.assignments]


def path(task: list[Json]) -> str:
    """The statuses a Task went through; invented steps in brackets."""
    shown = [f"({t['status']})" if is_inferred(t) else str(t["status"]) for t in task]
    return " ".join(s for n, s in enumerate(shown) if n == 0 or s != shown[n - 1])


def is_inferred(task: Json) -> bool:
    tags = task.get("meta", {}).get("tag", [])
    return {"system": canonical.TAG, "code": "inferred"} in tags


def reported(task: Json) -> str:
    return code_in(task.get("businessStatus"), canonical.REFERRAL_STATUS)


@pytest.mark.requirement("CLR-TASK-1")
def test_every_pair_of_open_task_and_referral_status_has_one_answer() -> None:
    assert set(TASK_STATUS) == {(current, status) for current in OPEN for status in S}
    assert set(TASK_STATUS.values()) <= {*STATUSES, CLOSING}


@pytest.mark.requirement("CLR-TASK-1")
@pytest.mark.parametrize(("current", "status"), sorted(TASK_STATUS))
def test_every_answer_is_reached_by_legal_steps(current: str, status: ReferralStatus) -> None:
    for closing in ENDS if status is S.LOOP_CLOSED else {""}:
        steps = legal_path(current, task_status(current, status, closing=closing))

        for old, new in pairwise((current, *steps)):
            assert (old, new) in TRANSITIONS


@pytest.mark.requirement("CLR-TASK-1")
@pytest.mark.parametrize("status", list(S))
def test_a_task_that_ended_or_is_a_draft_has_no_answer(status: ReferralStatus) -> None:
    for current in (*TERMINAL, "draft"):
        with pytest.raises(RuleBroken) as refused:
            task_status(current, status, closing="completed")
        assert refused.value.rule == "task-ended"


@pytest.mark.requirement("CLR-TASK-1")
def test_a_decline_is_rejected_before_acceptance_and_failed_after_it() -> None:
    assert task_status("requested", S.DECLINED) == "rejected"
    assert {task_status(now, S.DECLINED) for now in ("accepted", "in-progress", "on-hold")} == {
        "failed"
    }


@pytest.mark.requirement("CLR-TASK-1")
def test_acceptance_after_outreach_stays_in_progress() -> None:
    assert task_status("in-progress", S.ACCEPTED) == "in-progress"


@pytest.mark.requirement("CLR-TASK-1")
def test_what_a_task_status_alone_says_is_what_the_table_makes_of_it() -> None:
    for status in ("accepted", "rejected", "in-progress"):
        said = referral_status(status)
        assert said
        assert task_status("requested", said) == status
    assert {referral_status(end) for end in ("completed", "failed", "cancelled")} == {S.LOOP_CLOSED}
    assert {referral_status(s) for s in ("draft", "requested", "on-hold")} == {None}


@pytest.mark.requirement("CLR-TASK-2")
@pytest.mark.parametrize(
    ("reports", "plan", "provider"),
    [
        ([a_closure()], "completed", "requested (accepted) (in-progress) completed"),
        (
            [a_report("accepted", 2), a_closure()],
            "completed",
            "requested accepted (in-progress) completed",
        ),
        (
            [a_report("outreach-initiated", 2), a_report("accepted", 4), a_closure()],
            "completed",
            "requested (accepted) in-progress completed",
        ),
        ([a_closure("unable-to-reach")], "failed", "requested (accepted) failed"),
        ([a_closure("member-declined")], "cancelled", "requested cancelled"),
        ([a_closure("no-longer-eligible")], "cancelled", "requested cancelled"),
        ([a_closure("other", text="Moved away")], "failed", "requested (accepted) failed"),
        ([a_report("declined")], "", "requested rejected"),
        ([a_report("accepted", 1), a_report("declined", 3)], "", "requested accepted failed"),
        ([a_closure("provider-declined")], "", "requested (accepted) failed"),
        ([a_report("declined", 1), a_closure(on=4)], "completed", "requested rejected"),
        (
            [a_report("declined", 1), a_closure("provider-declined", 4, None)],
            "failed",
            "requested rejected",
        ),
    ],
)
def test_both_tasks_take_the_shortest_legal_path(
    reports: list[Act], plan: str, provider: str
) -> None:
    task1, (task2,) = versions(*ASSIGNED_TO_HARBOR, *reports)

    assert path(task1) == f"requested accepted in-progress {plan}".strip()
    assert path(task2) == provider


@pytest.mark.requirement("CLR-TASK-1")
def test_every_step_ever_written_is_drawn_in_the_standard() -> None:
    everything = (
        a_decision("pending", basis="presumptive"),
        an_assignment(),
        a_report("outreach-initiated", 1),
        a_report("declined", 3),
        an_assignment(HEARTH, ASSIGNED + timedelta(4)),
        a_closure("unable-to-reach", 8, HEARTH),
        a_decision("approved", ASSIGNED + timedelta(9)),
    )

    task1, theirs = versions(*everything)

    for task in (task1, *theirs):
        steps = [NEW, *(str(version["status"]) for version in task)]
        assert all(old == new or (old, new) in TRANSITIONS for old, new in pairwise(steps))


@pytest.mark.requirement("CLR-TASK-2")
def test_invented_steps_say_nothing_of_the_referral() -> None:
    _, (task2,) = versions(*ASSIGNED_TO_HARBOR, a_closure())

    invented = [version for version in task2 if is_inferred(version)]
    assert [reported(version) for version in invented] == ["pending", "pending"]
    assert not is_inferred(task2[-1])
    assert reported(task2[-1]) == "loop-closed"


@pytest.mark.requirement("CLR-TASK-3")
def test_the_plan_s_task_mirrors_its_provider_s_and_ends_with_its_loop() -> None:
    task1, _ = versions(
        *ASSIGNED_TO_HARBOR,
        a_report("declined", 2),
        an_assignment(HEARTH, ASSIGNED + timedelta(3)),
        a_report("accepted", 5, HEARTH),
        a_closure(on=9, provider=HEARTH),
    )

    assert [(t["status"], reported(t)) for t in task1] == [
        ("requested", ""),
        ("accepted", "pending"),
        ("in-progress", "pending"),
        ("in-progress", "declined"),
        ("in-progress", "pending"),
        ("in-progress", "accepted"),
        ("completed", "loop-closed"),
    ]


@pytest.mark.requirement("CLR-CLOSE-4")
def test_for_the_plan_a_provider_that_closes_without_closing_the_loop_has_declined() -> None:
    task1, (task2,) = versions(*ASSIGNED_TO_HARBOR, a_closure("provider-declined"))

    assert (task1[-1]["status"], reported(task1[-1])) == ("in-progress", "declined")
    assert (task2[-1]["status"], reported(task2[-1])) == ("failed", "loop-closed")


@pytest.mark.requirement("CLR-DISC-2")
def test_a_plan_s_code_and_words_stay_on_the_provider_s_task() -> None:
    task1, (task2,) = versions(
        *ASSIGNED_TO_HARBOR, a_closure("other", text="WORDS", plan_code="PLANCODE")
    )

    assert "WORDS" in str(task2[-1])
    assert "PLANCODE" in str(task2[-1])
    assert "WORDS" not in str(task1)
    assert "PLANCODE" not in str(task1)


@pytest.mark.requirement("CLR-AUTH-1")
def test_a_denial_cancels_the_plan_s_task_and_names_no_provider_decline() -> None:
    task1, theirs = versions(a_decision("denied"))

    assert path(task1) == "requested cancelled"
    assert theirs == []
    assert code_in(task1[-1]["statusReason"], canonical.CLOSURE_REASON) == "authorization-denied"


@pytest.mark.requirement("CLR-AUTH-2")
def test_a_denial_after_a_presumptive_start_takes_the_provider_s_task_back() -> None:
    task1, (task2,) = versions(
        a_decision("pending", basis="presumptive"),
        an_assignment(),
        a_report("accepted", 1),
        a_decision("denied", ASSIGNED + timedelta(3)),
    )

    assert path(task1) == "requested (accepted) in-progress cancelled"
    assert path(task2) == "requested accepted cancelled"


@pytest.mark.requirement("CLR-AXES-2")
def test_the_business_status_is_absent_until_approval() -> None:
    task1, _ = versions(a_decision("deferred"), a_decision("approved", ASSIGNED))

    assert [(t["status"], reported(t)) for t in task1] == [
        ("requested", ""),
        ("requested", ""),
        ("accepted", "pending"),
    ]


@pytest.mark.requirement("CLR-AUTH-5")
def test_a_decision_after_the_closure_shows_on_the_ended_task_without_moving_it() -> None:
    task1, _ = versions(
        a_decision("pending", basis="presumptive"),
        an_assignment(),
        a_closure(on=2),
        a_decision("approved", ASSIGNED + timedelta(9)),
    )

    outputs = [
        code_in(o.get("valueCodeableConcept"), canonical.AUTHORIZATION_STATUS)
        for o in task1[-1]["output"]
    ]
    assert task1[-1]["status"] == "completed"
    assert reported(task1[-1]) == "loop-closed"
    assert "approved" in outputs
    assert "pending" not in outputs


@pytest.mark.requirement("CLR-CLOSE-1")
def test_an_ended_task_has_its_reason_and_its_date() -> None:
    task1, (task2,) = versions(*ASSIGNED_TO_HARBOR, a_closure("unable-to-reach", 4))

    for task in (task1[-1], task2[-1]):
        assert code_in(task["statusReason"], canonical.CLOSURE_REASON) == "unable-to-reach"
        assert task["statusReason"]["text"]
        assert task["executionPeriod"]["end"] == str(ASSIGNED + timedelta(4))
