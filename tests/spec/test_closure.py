"""Known closure: with a reason and a date, by whom it may be closed, and never undone."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from tests.builders import (
    ASSIGNED,
    ASSIGNED_TO_HARBOR,
    HARBOR,
    HEARTH,
    a_closure,
    a_decision,
    a_referral,
    a_report,
    a_rulebook,
    an_assignment,
    lived,
    told,
)

from fhir_hub_bridge.errors import RuleBroken, UnmappedCode
from fhir_hub_bridge.intake.record_referral import REVIEW_FLAGS
from fhir_hub_bridge.referral.lifecycle import apply, closes_loop, standing
from fhir_hub_bridge.referral.model import EventKind, ReferralStatus

DAY = timedelta(days=1)
RULEBOOK = a_rulebook()
BY_PROVIDER = sorted(r.code for r in RULEBOOK.closure_reasons.values() if r.provider_closes_loop)


@pytest.mark.requirement("CLR-CLOSE-1")
def test_a_loop_is_not_closed_without_a_reason() -> None:
    with pytest.raises(RuleBroken) as refused:
        a_referral(*ASSIGNED_TO_HARBOR, a_report("loop-closed"))

    assert refused.value.rule == "closure-needs-reason"


@pytest.mark.requirement("CLR-CLOSE-1")
@pytest.mark.parametrize("reason", BY_PROVIDER)
def test_a_provider_closes_the_loop_with_a_reason_and_a_date(reason: str) -> None:
    referral, events = lived(*ASSIGNED_TO_HARBOR, a_closure(reason, 9, text="Made-up words"))

    assert referral.closure
    assert (referral.closure.reason, referral.closure.on) == (reason, ASSIGNED + 9 * DAY)
    assert standing(referral, RULEBOOK) is ReferralStatus.LOOP_CLOSED
    assert events[-1].kind is EventKind.LOOP_CLOSED


@pytest.mark.requirement("CLR-CLOSE-1")
def test_there_is_no_reason_that_means_unknown() -> None:
    served = {reason.code for reason in RULEBOOK.closure_reasons.values() if reason.served}

    assert served == {"services-received"}
    assert not [code for code in RULEBOOK.closure_reasons if "unknown" in code]


@pytest.mark.requirement("CLR-CLOSE-2")
def test_other_needs_words() -> None:
    with pytest.raises(RuleBroken) as refused:
        a_referral(*ASSIGNED_TO_HARBOR, a_closure("other"))

    assert refused.value.rule == "reason-needs-text"


@pytest.mark.requirement("CLR-CLOSE-6")
def test_a_reason_needs_a_closed_loop_and_a_row_of_the_table() -> None:
    with pytest.raises(RuleBroken) as refused:
        a_referral(*ASSIGNED_TO_HARBOR, a_report("accepted", reason="services-received"))
    assert refused.value.rule == "reason-without-closure"

    with pytest.raises(UnmappedCode):
        a_referral(*ASSIGNED_TO_HARBOR, a_closure("went-well"))


@pytest.mark.requirement("CLR-CLOSE-3")
@pytest.mark.parametrize("on", [4, 12])
def test_a_status_after_the_closure_is_kept_and_flagged_and_not_applied(on: int) -> None:
    closed = a_referral(*ASSIGNED_TO_HARBOR, a_closure(on=9))

    referral, events = lived(*ASSIGNED_TO_HARBOR, a_closure(on=9), a_report("accepted", on))

    assert referral.closure == closed.closure
    assert standing(referral, RULEBOOK) is ReferralStatus.LOOP_CLOSED
    assert (events[-1].flags, events[-1].moved) == (("after-closure",), False)
    assert set(events[-1].flags) <= REVIEW_FLAGS


@pytest.mark.requirement("CLR-CLOSE-3")
def test_a_second_closure_leaves_the_first_one() -> None:
    referral, events = lived(
        *ASSIGNED_TO_HARBOR, a_closure("unable-to-reach", 9), a_closure("services-received", 10)
    )

    assert referral.closure
    assert referral.closure.reason == "unable-to-reach"
    assert (events[-1].flags, events[-1].moved) == (("second-closure",), False)


@pytest.mark.requirement("CLR-CLOSE-3")
def test_the_plan_s_word_after_a_denial_is_kept_once() -> None:
    denied = a_decision("denied")
    again = a_closure("member-declined", 3, None)

    referral, events = lived(denied, again)
    same, more = lived(denied, again, again)

    assert events[-1].flags == ("second-closure",)
    assert (same, len(more)) == (referral, len(events))
    assert referral.closure
    assert referral.closure.reason == "authorization-denied"


@pytest.mark.requirement("CLR-CLOSE-4")
def test_a_provider_s_provider_declined_ends_its_own_part_only() -> None:
    referral, events = lived(*ASSIGNED_TO_HARBOR, a_closure("provider-declined", 3))

    assert referral.closure is None
    assert standing(referral, RULEBOOK) is ReferralStatus.DECLINED
    assert events[-1].kind is EventKind.STATUS_REPORTED


@pytest.mark.requirement("CLR-CLOSE-4")
def test_another_provider_may_close_what_one_declined() -> None:
    referral = a_referral(
        *ASSIGNED_TO_HARBOR,
        a_closure("provider-declined", 3),
        an_assignment(HEARTH, ASSIGNED + 4 * DAY),
        a_closure("services-received", 9, HEARTH),
    )

    assert referral.closure
    assert referral.closure.assignment == 2


@pytest.mark.requirement("CLR-CLOSE-4")
def test_a_provider_that_closed_and_now_says_served_goes_to_a_person() -> None:
    referral, events = lived(
        *ASSIGNED_TO_HARBOR, a_closure("provider-declined", 3), a_closure("services-received", 9)
    )

    assert referral.closure is None
    assert (events[-1].flags, events[-1].moved) == (("after-closure",), False)


@pytest.mark.requirement("CLR-CLOSE-5")
@pytest.mark.parametrize("reason", sorted(RULEBOOK.closure_reasons))
def test_the_plan_closes_with_any_reason(reason: str) -> None:
    unassigned = a_referral(a_closure(reason, 1, None, text="Made-up words"))
    assigned = a_referral(
        *ASSIGNED_TO_HARBOR,
        a_report("accepted"),
        a_closure(reason, 4, None, text="Made-up words"),
    )

    assert unassigned.closure
    assert assigned.closure
    assert {unassigned.closure.reason, assigned.closure.reason} == {reason}


@pytest.mark.requirement("CLR-CLOSE-5")
@pytest.mark.parametrize("said", ["declined", "closed"])
@pytest.mark.parametrize("on", [2, 5])
def test_the_plan_closes_when_no_provider_would_take_it(said: str, on: int) -> None:
    ended = a_report("declined", 3) if said == "declined" else a_closure("provider-declined", 3)

    referral, events = lived(*ASSIGNED_TO_HARBOR, ended, a_closure("provider-declined", on, None))

    assert referral.closure
    assert referral.closure.on == ASSIGNED + on * DAY
    assert events[-1].kind is EventKind.LOOP_CLOSED
    assert events[-2].moved


@pytest.mark.requirement("CLR-CLOSE-5")
def test_the_plan_s_earlier_date_closes_too() -> None:
    referral = a_referral(
        *ASSIGNED_TO_HARBOR, a_report("accepted", 6), a_closure("no-longer-eligible", 4, None)
    )

    assert referral.closure
    assert referral.closure.on == ASSIGNED + 4 * DAY


@pytest.mark.requirement("CLR-CLOSE-5")
def test_a_provider_may_serve_after_its_decline_while_nobody_else_was_asked() -> None:
    referral = a_referral(*ASSIGNED_TO_HARBOR, a_report("declined", 3), a_closure(on=9))

    assert referral.closure
    assert referral.closure.reason == "services-received"


@pytest.mark.requirement("CLR-CLOSE-4")
def test_which_reasons_a_provider_closes_with_is_a_row_of_data() -> None:
    row = RULEBOOK.closure_reason("provider-declined")
    reasons = {**RULEBOOK.closure_reasons, row.code: replace(row, provider_closes_loop=True)}
    rulebook = replace(RULEBOOK, closure_reasons=reasons)

    assert closes_loop(a_closure("provider-declined", provider=HARBOR), rulebook)
    assert not closes_loop(a_closure("provider-declined", provider=HARBOR), RULEBOOK)


def test_a_reason_is_used_from_the_day_it_is_valid() -> None:
    served = RULEBOOK.closure_reason("services-received")
    reasons = {
        **RULEBOOK.closure_reasons,
        served.code: replace(served, valid_from=date(2027, 1, 1)),
    }
    referral, events = lived(*ASSIGNED_TO_HARBOR)

    with pytest.raises(RuleBroken, match="in use from 2027-01-01") as refused:
        apply(
            referral,
            a_closure("services-received", provider=HARBOR),
            told=told(HARBOR),
            rulebook=replace(RULEBOOK, closure_reasons=reasons),
            last_event=len(events),
        )

    assert refused.value.rule == "not-in-force"
