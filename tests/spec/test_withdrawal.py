"""Who made a referral may take it back, or change what it asks for, while its loop is open."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter
from tests.builders import (
    APPROVED,
    ASSIGNED_TO_HARBOR,
    CLINIC,
    HARBOR,
    HUB,
    PARTNERS,
    PLAN,
    TODAY,
    a_closure,
    a_partner,
    a_referral,
    a_rulebook,
    an_agreement,
    lived,
    told,
)

from fhir_hub_bridge.errors import RuleBroken
from fhir_hub_bridge.referral.lifecycle import rebuild
from fhir_hub_bridge.referral.model import (
    Act,
    Amend,
    Event,
    EventKind,
    NoticeType,
    Party,
    Withdraw,
)
from fhir_hub_bridge.referral.notices import notices_owed
from fhir_hub_bridge.referral.parties import check_may

WITHDRAWN = Withdraw(TODAY, "She moved away")
AMENDED = Amend(TODAY, ("ServiceRequest.priority",))


def test_the_rulebook_has_one_reason_for_it_and_says_that_it_is_not_dhcs_s() -> None:
    reason = a_rulebook().withdrawal_reason()

    assert (reason.code, reason.task_status) == ("referral-withdrawn", "cancelled")
    assert reason.citation.confidence == "inferred"


@pytest.mark.requirement("CLR-BACK-1")
@pytest.mark.parametrize("before", [(), APPROVED, ASSIGNED_TO_HARBOR], ids=len)
def test_taking_a_referral_back_closes_its_loop_and_leaves_the_authorization(
    before: tuple[Act, ...],
) -> None:
    referral, events = lived(*before, WITHDRAWN)

    assert referral.closure is not None
    assert (referral.closure.reason, referral.closure.on) == ("referral-withdrawn", TODAY)
    assert referral.decisions == a_referral(*before).decisions
    assert {a.ended for a in referral.assignments} <= {"withdrawn"}
    assert [e.kind for e in events[-2:]] == [EventKind.REFERRAL_WITHDRAWN, EventKind.LOOP_CLOSED]


def test_taking_it_back_twice_says_nothing_new() -> None:
    once, events = lived(*ASSIGNED_TO_HARBOR, WITHDRAWN)

    assert lived(*ASSIGNED_TO_HARBOR, WITHDRAWN, WITHDRAWN) == (once, events)


@pytest.mark.parametrize("act", [WITHDRAWN, AMENDED])
def test_a_closed_loop_is_neither_taken_back_nor_amended(act: Act) -> None:
    with pytest.raises(RuleBroken) as refused:
        lived(*ASSIGNED_TO_HARBOR, a_closure(), act)

    assert refused.value.rule == "loop-closed"


def test_the_referrer_is_owed_the_closure_of_what_it_took_back() -> None:
    referral, events = lived(*ASSIGNED_TO_HARBOR, WITHDRAWN)

    owed, not_owed = notices_owed(
        referral, events[-2:], agreement=an_agreement(), rulebook=a_rulebook()
    )

    assert [notice.type for notice in owed] == [NoticeType.LOOP_CLOSED]
    assert not_owed == ()


def test_an_amendment_moves_nothing_and_owes_nothing() -> None:
    referral, events = lived(*ASSIGNED_TO_HARBOR, AMENDED)

    assert referral == a_referral(*ASSIGNED_TO_HARBOR)
    assert events[-1].kind is EventKind.REFERRAL_AMENDED
    assert notices_owed(referral, events[-1:], agreement=an_agreement(), rulebook=a_rulebook()) == (
        (),
        (),
    )


@pytest.mark.requirement("CLR-BACK-1")
@pytest.mark.parametrize("by", [PLAN, HARBOR, HUB], ids=lambda partner: partner.id)
def test_nobody_but_who_made_a_referral_takes_it_back(by: object) -> None:
    assert isinstance(by, type(PLAN))

    with pytest.raises(RuleBroken) as refused:
        check_may(WITHDRAWN, by=by.party, referral=a_referral(), partners=PARTNERS)

    assert refused.value.rule == "wrong-party"


def test_who_made_it_or_acts_for_that_one_takes_it_back() -> None:
    helper = a_partner("helper", kind="hub", acts_for=(CLINIC.id,))
    nobody = Party(name="A school nurse")

    for by, referral in (
        (CLINIC.party, a_referral()),
        (helper.party, a_referral()),
        (nobody, a_referral(requester=nobody)),
    ):
        check_may(WITHDRAWN, by=by, referral=referral, partners=(*PARTNERS, helper))


@pytest.mark.parametrize("act", [WITHDRAWN, Withdraw(TODAY), AMENDED])
def test_an_act_is_read_back_as_the_act_that_was_stored(act: Act) -> None:
    kept = TypeAdapter(Event)
    event = Event(2, EventKind.REFERRAL_AMENDED, TODAY, told(), act)

    assert kept.validate_json(kept.dump_json(event)) == event


def test_a_withdrawn_referral_is_rebuilt_from_its_events() -> None:
    referral, events = lived(*ASSIGNED_TO_HARBOR, AMENDED, WITHDRAWN)

    again = rebuild(events, a_rulebook(), id=referral.id, clr_id=referral.clr_id)

    assert again == referral
