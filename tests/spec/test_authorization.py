"""The plan's decision: an axis of its own, dated, never undone, never merged with the status."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.builders import (
    APPROVED,
    ASSIGNED,
    ASSIGNED_TO_HARBOR,
    DECIDED,
    a_closure,
    a_decision,
    a_refer,
    a_referral,
    a_report,
    a_rulebook,
    an_assignment,
    lived,
)

from fhir_hub_bridge.errors import RuleBroken, UnmappedCode
from fhir_hub_bridge.referral.lifecycle import apply, is_authorized, standing
from fhir_hub_bridge.referral.model import EventKind, ReferralStatus

DAY = timedelta(days=1)
RULEBOOK = a_rulebook()


@pytest.mark.requirement("CLR-AXES-1")
def test_a_decision_moves_no_status_and_a_status_no_decision() -> None:
    accepted = a_referral(*ASSIGNED_TO_HARBOR, a_report("accepted"))

    decided_again, _ = lived(
        *ASSIGNED_TO_HARBOR, a_report("accepted"), a_decision("approved-modified", ASSIGNED + DAY)
    )

    assert standing(decided_again, RULEBOOK) is standing(accepted, RULEBOOK)
    assert decided_again.assignments == accepted.assignments
    assert accepted.decisions == a_referral(*ASSIGNED_TO_HARBOR).decisions
    assert [d.status for d in decided_again.decisions] == ["approved", "approved-modified"]


@pytest.mark.requirement("CLR-AXES-2")
def test_there_is_no_status_before_approval() -> None:
    received = a_referral()
    deferred = a_referral(a_decision("deferred"))
    approved = a_referral(*APPROVED)

    assert standing(received, RULEBOOK) is None
    assert standing(deferred, RULEBOOK) is None
    assert standing(approved, RULEBOOK) is ReferralStatus.PENDING


@pytest.mark.requirement("CLR-AXES-2")
@pytest.mark.parametrize("basis", ["presumptive", "retroactive", "not-required"])
def test_there_is_a_status_from_the_start_where_no_decision_is_awaited(basis: str) -> None:
    referral = a_referral(a_decision("pending", basis=basis))

    assert standing(referral, RULEBOOK) is ReferralStatus.PENDING


@pytest.mark.requirement("CLR-AXES-2")
def test_every_basis_of_the_table_is_one_or_the_other() -> None:
    bases = {basis for basis, starts in RULEBOOK.authorization_bases.items() if not starts}

    assert bases == {"prior"}


@pytest.mark.requirement("CLR-AUTH-1")
def test_a_denial_without_a_reason_is_refused() -> None:
    with pytest.raises(RuleBroken) as refused:
        a_referral(a_decision("denied", reason=""))

    assert refused.value.rule == "decision-needs-reason"


@pytest.mark.requirement("CLR-AUTH-1")
def test_a_code_alone_is_no_reason_that_could_be_told() -> None:
    with pytest.raises(RuleBroken) as refused:
        a_referral(a_decision("denied", reason="", reason_code="C1"))

    assert refused.value.rule == "decision-needs-reason"


@pytest.mark.requirement("CLR-AUTH-1")
def test_a_denial_closes_the_loop_with_its_date() -> None:
    referral, events = lived(a_decision("denied"))

    assert referral.closure
    assert (referral.closure.reason, referral.closure.on) == ("authorization-denied", DECIDED)
    assert [e.kind for e in events][1:] == [
        EventKind.AUTHORIZATION_DECIDED,
        EventKind.LOOP_CLOSED,
    ]


@pytest.mark.requirement("CLR-AUTH-1")
def test_every_status_that_closes_does_so_with_a_reason_of_the_table() -> None:
    closing = {
        status.code: status.closes_with
        for status in RULEBOOK.authorization_statuses.values()
        if status.closes_with
    }

    assert set(closing) == {"denied", "withdrawn"}
    assert all(RULEBOOK.closure_reason(reason).task_status for reason in closing.values())


@pytest.mark.requirement("CLR-AUTH-2")
def test_a_provider_starts_on_a_presumptive_authorization_that_is_later_denied() -> None:
    presumptive = a_decision("pending", basis="presumptive")

    referral, events = lived(
        presumptive,
        an_assignment(),
        a_report("accepted", 1),
        a_report("outreach-initiated", 3),
        a_decision("denied", ASSIGNED + 5 * DAY),
    )

    assert referral.closure
    assert referral.closure.reason == "authorization-denied"
    assert [s.status.value for s in referral.assignments[0].statuses] == [
        "pending",
        "accepted",
        "outreach-initiated",
    ]
    assert referral.assignments[0].ended == "authorization"
    assert all(event.moved and not event.flags for event in events)


@pytest.mark.requirement("CLR-AUTH-3")
@pytest.mark.parametrize("status", ["pending", "deferred"])
def test_what_decides_nothing_closes_and_authorizes_nothing(status: str) -> None:
    referral = a_referral(a_decision(status))

    assert referral.closure is None
    assert not is_authorized(referral, RULEBOOK)


@pytest.mark.requirement("CLR-AUTH-4")
def test_an_older_decision_told_later_does_not_stand() -> None:
    older = a_decision("deferred", DECIDED - DAY)

    referral, events = lived(*APPROVED, older)

    assert referral.decision == APPROVED[0]
    assert older in referral.decisions
    assert (events[-1].flags, events[-1].moved) == (("out-of-order",), False)


@pytest.mark.requirement("CLR-AUTH-4")
def test_an_older_denial_told_later_closes_nothing() -> None:
    referral, _ = lived(*APPROVED, a_decision("denied", DECIDED - DAY))

    assert referral.closure is None
    assert is_authorized(referral, RULEBOOK)


@pytest.mark.requirement("CLR-AUTH-4")
def test_of_two_decisions_of_one_day_the_last_told_stands() -> None:
    referral = a_referral(*APPROVED, a_decision("approved-modified"))

    assert referral.decision
    assert referral.decision.status == "approved-modified"


@pytest.mark.requirement("CLR-AUTH-4")
def test_a_decision_told_anew_after_another_of_its_day_stands_again() -> None:
    approved = APPROVED[0]

    referral, events = lived(approved, a_decision("deferred"), approved)
    after, more = lived(approved, a_decision("deferred"), approved, approved)

    assert referral.decision == approved
    assert events[-1].moved
    assert (after, len(more)) == (referral, len(events))


@pytest.mark.requirement("CLR-AUTH-4")
def test_an_older_decision_told_twice_is_recorded_once() -> None:
    older = a_decision("deferred", DECIDED - DAY)

    _, events = lived(older, *APPROVED, older)

    assert len(events) == 3


@pytest.mark.requirement("CLR-AUTH-5")
@pytest.mark.parametrize("status", ["approved", "denied"])
def test_a_decision_open_at_the_closure_is_recorded_after_it(status: str) -> None:
    served = (a_decision("pending", basis="presumptive"), an_assignment(), a_closure())

    referral, events = lived(*served, a_decision(status, ASSIGNED + 12 * DAY))

    assert referral.decision
    assert referral.decision.status == status
    assert referral.closure
    assert referral.closure.reason == "services-received"
    assert events[-1].kind is EventKind.AUTHORIZATION_DECIDED
    assert events[-1].moved
    assert ("after-closure" in events[-1].flags) == (status == "denied")


@pytest.mark.requirement("CLR-AUTH-6")
def test_a_decided_and_closed_referral_takes_no_other_decision() -> None:
    with pytest.raises(RuleBroken) as refused:
        a_referral(a_decision("denied"), a_decision("approved", DECIDED + DAY))

    assert refused.value.rule == "loop-closed"


@pytest.mark.requirement("CLR-AUTH-6")
def test_an_appeal_upheld_is_a_new_referral_with_the_same_clr_id() -> None:
    denied = a_referral(a_decision("denied"))

    appealed, _ = lived(refer=a_refer(replaces="ServiceRequest/1", clr_id=denied.clr_id))

    assert appealed.clr_id == denied.clr_id
    assert appealed.replaces
    assert appealed.closure is None
    assert denied.closure


@pytest.mark.requirement("CLR-CLOSE-6")
def test_unknown_codes_are_refused_and_never_a_default() -> None:
    for decision in (a_decision("okay"), a_decision(basis="sometimes")):
        with pytest.raises(UnmappedCode):
            a_referral(decision)


@pytest.mark.requirement("CLR-AXES-1")
def test_a_referral_is_authorized_by_attributes_of_rows_not_by_their_codes() -> None:
    row = RULEBOOK.authorization_status("approved")
    renamed = replace(row, code="granted", label="Granted")
    rulebook = replace(
        RULEBOOK, authorization_statuses={**RULEBOOK.authorization_statuses, "granted": renamed}
    )

    referral, _ = apply(
        a_referral(),
        a_decision("granted"),
        told=lived()[1][0].told,
        rulebook=rulebook,
        last_event=1,
    )

    assert is_authorized(referral, rulebook)
