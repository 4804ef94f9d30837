"""Which party may do which act."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.builders import (
    ASSIGNED_TO_HARBOR,
    CLINIC,
    HARBOR,
    HEARTH,
    HUB,
    PARTNERS,
    PLAN,
    a_closure,
    a_decision,
    a_partner,
    a_refer,
    a_referral,
    a_report,
    an_assignment,
)

from fhir_hub_bridge.errors import RuleBroken
from fhir_hub_bridge.referral.model import Act, Party, Referral
from fhir_hub_bridge.referral.parties import Partner, check_may, recognise, recognise_plan

DECIDE, ASSIGN = a_decision(), an_assignment()
REPORT, PLANS_WORD = a_report(), a_closure(provider=None)
STRANGER = a_partner("stranger", npi="1999999992")
OTHER_PLAN = a_partner("other-plan", kind="managed-care-plan")
EVERYBODY = (*PARTNERS, STRANGER, OTHER_PLAN)


def may(by: Partner | Party, act: Act, referral: Referral | None = None) -> bool:
    party = by.party if isinstance(by, Partner) else by
    try:
        check_may(
            act,
            by=party,
            referral=referral or a_referral(*ASSIGNED_TO_HARBOR),
            partners=EVERYBODY,
        )
    except RuleBroken as error:
        assert error.rule == "wrong-party"
        return False
    return True


@pytest.mark.requirement("CLR-PARTY-1")
@pytest.mark.parametrize("act", [DECIDE, ASSIGN], ids=["decide", "assign"])
def test_the_plan_decides_and_assigns_and_no_other_party(act: Act) -> None:
    others = (CLINIC, HARBOR, HEARTH, STRANGER, OTHER_PLAN, Party(), Party(name=PLAN.name))

    assert may(PLAN, act)
    assert not any(may(other, act) for other in others)


@pytest.mark.requirement("CLR-PARTY-1")
def test_a_hub_does_only_what_the_plan_delegated_to_it() -> None:
    assert may(HUB, ASSIGN)
    assert not may(HUB, DECIDE)


@pytest.mark.requirement("CLR-PARTY-1")
def test_a_delegation_counts_only_for_the_plan_that_gave_it() -> None:
    other = a_referral(*ASSIGNED_TO_HARBOR, plan=OTHER_PLAN.party)

    assert not may(HUB, ASSIGN, other)


@pytest.mark.requirement("CLR-PARTY-1")
def test_a_plan_that_a_file_named_acts_once_it_is_recognised() -> None:
    named = a_referral(*ASSIGNED_TO_HARBOR, plan=Party(name="MCP000"))
    unknown = a_referral(*ASSIGNED_TO_HARBOR, plan=Party(name="Elsewhere Health"))

    assert may(PLAN, DECIDE, named)
    assert not may(OTHER_PLAN, DECIDE, named)
    assert not may(PLAN, DECIDE, unknown)


@pytest.mark.requirement("CLR-PARTY-2")
def test_a_provider_reports_on_its_own_assignment() -> None:
    assert may(HARBOR, REPORT)
    assert not may(HEARTH, REPORT)
    assert not may(CLINIC, REPORT)


@pytest.mark.requirement("CLR-PARTY-2")
def test_an_earlier_provider_does_not_speak_for_the_next_one() -> None:
    reassigned = a_referral(*ASSIGNED_TO_HARBOR, a_report("declined"), an_assignment(HEARTH))

    assert not may(HARBOR, a_report(provider=HEARTH), reassigned)
    assert may(HARBOR, a_report(provider=HARBOR), reassigned)


@pytest.mark.requirement("CLR-PARTY-2")
def test_a_hub_reports_for_the_providers_it_acts_for_and_the_plan_for_all() -> None:
    for_hearth = a_referral(*ASSIGNED_TO_HARBOR[:1], an_assignment(HEARTH))
    own_hub = replace(HUB, id=STRANGER.id, acts_for=(HARBOR.id,), delegated=())

    assert may(HUB, REPORT)
    assert may(PLAN, a_report(provider=HEARTH), for_hearth)
    with pytest.raises(RuleBroken):
        check_may(
            a_report(provider=HEARTH),
            by=own_hub.party,
            referral=for_hearth,
            partners=(PLAN, HEARTH, own_hub),
        )


@pytest.mark.requirement("CLR-PARTY-3")
def test_only_the_plan_s_side_closes_without_naming_a_provider() -> None:
    assert may(PLAN, PLANS_WORD)
    assert may(HUB, PLANS_WORD)
    assert not any(may(other, PLANS_WORD) for other in (HARBOR, HEARTH, CLINIC, STRANGER))


@pytest.mark.requirement("CLR-PARTY-2")
def test_anyone_may_refer() -> None:
    for anyone in (CLINIC.party, Party(name="A neighbour"), Party()):
        check_may(a_refer(), by=anyone, referral=None, partners=EVERYBODY)


@pytest.mark.requirement("CLR-PARTY-2")
def test_a_party_is_recognised_by_its_numbers_and_never_by_its_name() -> None:
    by_npi = recognise(Party(name="Whatever", npi=HARBOR.npi), PARTNERS)
    by_tin = recognise(Party(tin=HARBOR.tin), PARTNERS)
    by_name = recognise(Party(name=HARBOR.name), PARTNERS)

    assert (by_npi.partner, by_tin.partner, by_name.partner) == ("harbor", "harbor", None)


@pytest.mark.requirement("CLR-PARTY-2")
def test_of_two_partners_with_one_number_none_is_chosen() -> None:
    twin = replace(HEARTH, tin=HARBOR.tin)

    found = recognise(Party(tin=HARBOR.tin), (HARBOR, twin))

    assert found.partner is None


@pytest.mark.requirement("CLR-PARTY-2")
def test_two_parties_known_by_name_alone_are_never_one() -> None:
    assert not Party(name="Example Care").is_same_as(Party(name="Example Care"))
    assert Party(npi="1", tin="2").is_same_as(Party(npi="1", tin="3"))
    assert not Party(npi="1", tin="2").is_same_as(Party(npi="3", tin="2"))


@pytest.mark.requirement("CLR-PARTY-1")
def test_a_plan_is_recognised_by_its_code_before_its_name() -> None:
    assert recognise_plan("MCP000", "Somebody else", PARTNERS).partner == "plan"
    assert recognise_plan("", f"  {PLAN.name.upper()} ", PARTNERS).partner == "plan"
    assert recognise_plan("X9", HARBOR.name, PARTNERS) == Party(name=HARBOR.name)


def test_only_a_provider_or_a_hub_is_given_a_referral() -> None:
    to_clinic = replace(ASSIGN, provider=CLINIC.party)

    with pytest.raises(RuleBroken, match="clinic is registered as a referring-entity") as refused:
        check_may(to_clinic, by=PLAN.party, referral=a_referral(a_decision()), partners=EVERYBODY)

    assert refused.value.rule == "not-a-provider"
