"""Referral Status: many dated entries, of which the dates say which one counts."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from tests.builders import (
    APPROVED,
    ASSIGNED,
    ASSIGNED_TO_HARBOR,
    HARBOR,
    HEARTH,
    REFERRED,
    TODAY,
    a_closure,
    a_decision,
    a_refer,
    a_referral,
    a_report,
    a_rulebook,
    an_assignment,
    lived,
)

from fhir_hub_bridge.errors import RuleBroken
from fhir_hub_bridge.referral.assignment import FOLLOWS, mermaid
from fhir_hub_bridge.referral.lifecycle import standing, status_at
from fhir_hub_bridge.referral.model import Act, Party, ReferralStatus

S = ReferralStatus
DAY = timedelta(days=1)


def where(*acts: Act) -> str:
    status = standing(a_referral(*ASSIGNED_TO_HARBOR, *acts), a_rulebook())
    assert status
    return status.value


@pytest.mark.requirement("CLR-STATUS-1")
def test_every_entry_is_kept_with_its_own_date() -> None:
    referral = a_referral(
        *ASSIGNED_TO_HARBOR, a_report("accepted", 2), a_report("outreach-initiated", 5)
    )

    entries = [(entry.status.value, entry.on) for entry in referral.assignments[0].statuses]
    assert entries == [
        ("pending", ASSIGNED),
        ("accepted", ASSIGNED + 2 * DAY),
        ("outreach-initiated", ASSIGNED + 5 * DAY),
    ]


@pytest.mark.requirement("CLR-STATUS-1")
def test_acceptance_may_come_after_outreach() -> None:
    assert where(a_report("outreach-initiated", 1), a_report("accepted", 4)) == "accepted"


@pytest.mark.requirement("CLR-STATUS-1")
def test_the_diagram_shows_every_step_of_the_table() -> None:
    drawn = mermaid()

    for status, followers in FOLLOWS.items():
        for follower in followers:
            one, other = (s.value.replace("-", "_") for s in (status, follower))
            assert f"    {one} --> {other}\n" in drawn


@pytest.mark.requirement("CLR-STATUS-2")
@pytest.mark.parametrize("status", ["accepted", "outreach-initiated", "declined", "loop-closed"])
def test_a_monthly_file_may_skip_to_any_status(status: str) -> None:
    report = a_report(status, reason="services-received" if status == "loop-closed" else "")

    assert where(report) == status


@pytest.mark.requirement("CLR-STATUS-3")
def test_a_late_status_is_kept_and_flagged_and_not_applied() -> None:
    late = a_report("accepted", 1)

    referral, events = lived(*ASSIGNED_TO_HARBOR, a_report("declined", 4), late)

    assert standing(referral, a_rulebook()) is S.DECLINED
    assert (events[-1].flags, events[-1].moved, events[-1].act) == (("late",), False, late)
    assert S.ACCEPTED in [entry.status for entry in referral.assignments[0].statuses]


@pytest.mark.requirement("CLR-STATUS-3")
def test_a_status_out_of_order_is_kept_and_flagged_and_not_applied() -> None:
    _, events = lived(*ASSIGNED_TO_HARBOR, a_report("accepted", 2), a_report("pending", 4))

    assert (events[-1].flags, events[-1].moved) == (("out-of-order",), False)


@pytest.mark.requirement("CLR-STATUS-3")
def test_the_same_status_with_a_later_date_is_kept_as_repeated() -> None:
    referral, events = lived(*ASSIGNED_TO_HARBOR, a_report("accepted", 2), a_report("accepted", 9))

    assert (events[-1].flags, events[-1].moved) == (("repeated",), False)
    assert status_at(referral.assignments[0]).on == ASSIGNED + 2 * DAY


@pytest.mark.requirement("CLR-STATUS-4")
def test_a_date_in_the_future_is_refused() -> None:
    tomorrow = TODAY + DAY

    for act in (a_decision(on=tomorrow), an_assignment(on=tomorrow), a_report(on=tomorrow)):
        with pytest.raises(RuleBroken) as refused:
            a_referral(*ASSIGNED_TO_HARBOR, act)
        assert refused.value.rule == "future-date"
    with pytest.raises(RuleBroken):
        a_referral(referred_on=tomorrow)


@pytest.mark.requirement("CLR-STATUS-4")
def test_today_is_california_s_day_not_utc_s() -> None:
    # NOW is the 20th at noon in California; the 21st has begun elsewhere.
    assert where(a_report("accepted", TODAY)) == "accepted"


@pytest.mark.requirement("CLR-STATUS-4")
def test_a_date_before_the_referral_is_refused() -> None:
    before = REFERRED - DAY

    for act in (a_decision(on=before), an_assignment(on=before), a_report(on=before)):
        with pytest.raises(RuleBroken) as refused:
            a_referral(*ASSIGNED_TO_HARBOR, act)
        assert refused.value.rule == "before-referral"


@pytest.mark.requirement("CLR-STATUS-4")
def test_where_no_source_names_a_referral_date_none_is_invented() -> None:
    from_a_file = a_refer(referred_on=None, requester=Party(), inferred=True)

    referral, events = lived(
        an_assignment(), a_report("accepted", date(2026, 1, 9)), refer=from_a_file
    )

    assert referral.referred_on is None
    assert events[-1].moved


@pytest.mark.requirement("CLR-STATUS-5")
def test_a_status_before_the_decision_is_recorded_with_a_warning() -> None:
    presumptive = a_decision("pending", basis="presumptive")
    awaited = a_decision("deferred", on=ASSIGNED)

    referral, events = lived(presumptive, an_assignment(), awaited, a_report("accepted", 2))

    assert standing(referral, a_rulebook()) is S.ACCEPTED
    assert (events[-1].flags, events[-1].moved) == (("before-authorization",), True)


@pytest.mark.requirement("CLR-ASSIGN-1")
def test_a_decline_closes_nothing_and_another_provider_is_assigned() -> None:
    declined = (a_report("declined", 2), an_assignment(HEARTH, ASSIGNED + 3 * DAY))

    referral, events = lived(*ASSIGNED_TO_HARBOR, *declined, a_report("accepted", 6, HEARTH))

    assert referral.closure is None
    assert standing(referral, a_rulebook()) is S.ACCEPTED
    assert [a.provider.partner for a in referral.assignments] == ["harbor", "hearth"]
    assert all(event.moved for event in events)


@pytest.mark.requirement("CLR-ASSIGN-1")
def test_the_same_provider_is_asked_anew_after_its_decline() -> None:
    referral = a_referral(
        *ASSIGNED_TO_HARBOR, a_report("declined", 2), an_assignment(HARBOR, ASSIGNED + 2 * DAY)
    )

    assert len(referral.assignments) == 2
    assert standing(referral, a_rulebook()) is S.PENDING


@pytest.mark.requirement("CLR-ASSIGN-1")
def test_what_a_provider_said_before_it_was_asked_anew_does_not_undo_that() -> None:
    anew = (a_report("declined", 4), an_assignment(HARBOR, ASSIGNED + 11 * DAY))
    before = a_referral(*ASSIGNED_TO_HARBOR, *anew)

    again, repeated = lived(*ASSIGNED_TO_HARBOR, *anew, a_report("declined", 4))
    after, events = lived(*ASSIGNED_TO_HARBOR, *anew, a_report("declined", 6))

    assert (again, len(repeated)) == (before, 5)
    assert standing(after, a_rulebook()) is S.PENDING
    assert (events[-1].assignment, events[-1].flags, events[-1].moved) == (1, ("late",), False)
    assert a_report("declined", 6).on in [entry.on for entry in after.assignments[0].statuses]
    assert len(after.assignments[1].statuses) == 1


@pytest.mark.requirement("CLR-ASSIGN-1")
def test_the_plan_closes_with_a_date_before_its_newest_assignment() -> None:
    anew = (a_report("declined", 4), an_assignment(HEARTH, ASSIGNED + 11 * DAY))

    referral, events = lived(*ASSIGNED_TO_HARBOR, *anew, a_closure("member-declined", 8, None))

    assert referral.closure
    assert referral.closure.on == ASSIGNED + 8 * DAY
    assert referral.assignments[-1].ended == "plan-closed"
    assert events[-2].moved


@pytest.mark.requirement("CLR-ASSIGN-1")
def test_an_old_assignment_told_again_asks_nobody_anew() -> None:
    moved_on = (a_report("declined", 2), an_assignment(HEARTH, ASSIGNED + 3 * DAY))

    before = a_referral(*ASSIGNED_TO_HARBOR, *moved_on)
    after, events = lived(*ASSIGNED_TO_HARBOR, *moved_on, an_assignment(HARBOR, ASSIGNED))

    assert after == before
    assert len(events) == 5


@pytest.mark.requirement("CLR-ASSIGN-1")
def test_an_assignment_older_than_the_one_that_stands_is_refused() -> None:
    with pytest.raises(RuleBroken) as refused:
        a_referral(*ASSIGNED_TO_HARBOR, an_assignment(HEARTH, ASSIGNED - DAY))

    assert refused.value.rule == "assigned-since"


@pytest.mark.requirement("CLR-ASSIGN-2")
def test_nobody_is_assigned_before_approval() -> None:
    for acts in ((), (a_decision("deferred"),), (a_decision("pending"),)):
        with pytest.raises(RuleBroken) as refused:
            a_referral(*acts, an_assignment())
        assert refused.value.rule == "assign-before-authorization"


@pytest.mark.requirement("CLR-ASSIGN-2")
def test_nobody_is_assigned_without_a_name_or_to_a_closed_loop() -> None:
    nobody = an_assignment(HARBOR)
    with pytest.raises(RuleBroken) as refused:
        a_referral(*APPROVED, type(nobody)(Party(), ASSIGNED))
    assert refused.value.rule == "provider-unknown"

    with pytest.raises(RuleBroken) as closed:
        a_referral(*ASSIGNED_TO_HARBOR, a_closure(), an_assignment(HEARTH, ASSIGNED + 9 * DAY))
    assert closed.value.rule == "loop-closed"


@pytest.mark.requirement("CLR-ASSIGN-3")
@pytest.mark.parametrize("status", ["accepted", "outreach-initiated", "loop-closed"])
def test_what_an_earlier_provider_tells_after_a_reassignment_is_kept_for_a_person(
    status: str,
) -> None:
    reassigned = (
        *ASSIGNED_TO_HARBOR,
        a_report("declined", 2),
        an_assignment(HEARTH, ASSIGNED + 3 * DAY),
    )
    reason = "services-received" if status == "loop-closed" else ""

    referral, events = lived(*reassigned, a_report(status, 6, HARBOR, reason=reason))

    assert referral.closure is None
    assert standing(referral, a_rulebook()) is S.PENDING
    assert (events[-1].flags, events[-1].moved) == (("after-reassignment",), False)


@pytest.mark.requirement("CLR-PARTY-2")
def test_a_provider_that_was_never_assigned_has_nothing_to_report() -> None:
    with pytest.raises(RuleBroken) as refused:
        a_referral(*ASSIGNED_TO_HARBOR, a_report("accepted", provider=HEARTH))

    assert refused.value.rule == "not-assigned"
