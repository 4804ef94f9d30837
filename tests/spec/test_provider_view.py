"""What a provider sees of a referral besides its own request and Task."""

from __future__ import annotations

from dataclasses import fields

import pytest
from tests.builders import (
    ASSIGNED,
    ASSIGNED_TO_HARBOR,
    DECIDED,
    HEARTH,
    TODAY,
    a_closure,
    a_decision,
    a_referral,
    a_report,
    a_rulebook,
    an_assignment,
)

from fhir_hub_bridge.referral.disclosure import ProviderView, view_of_provider
from fhir_hub_bridge.referral.model import Act, ReferralStatus, Withdraw


def view(*acts: Act, number: int = 1) -> ProviderView:
    return view_of_provider(a_referral(*acts), number, a_rulebook())


@pytest.mark.requirement("CLR-DISC-3")
def test_it_names_neither_the_referrer_nor_another_provider() -> None:
    names = {field.name for field in fields(ProviderView)}

    assert names == {
        "clr_id",
        "service",
        "service_label",
        "assigned_on",
        "status",
        "ended",
        "authorization_number",
        "authorized_from",
        "authorized_to",
    }


def test_a_provider_sees_what_it_works_under() -> None:
    decided = a_decision(starts_on=DECIDED, ends_on=TODAY)

    seen = view(decided, an_assignment())

    assert (seen.authorization_number, seen.authorized_from, seen.authorized_to) == (
        "A-1",
        DECIDED,
        TODAY,
    )
    assert (seen.service_label, seen.assigned_on) == ("Enhanced Care Management", ASSIGNED)


def test_a_decision_that_authorizes_nothing_is_the_plan_s_own_affair() -> None:
    seen = view(a_decision("pending", basis="presumptive"), an_assignment())

    assert seen.authorization_number == ""


@pytest.mark.parametrize(
    ("acts", "why"),
    [
        ((), ""),
        ((an_assignment(HEARTH, TODAY),), "Assigned to another provider"),
        ((Withdraw(TODAY, "TEXTCANARY"),), "Referral Withdrawn"),
        ((a_closure("unable-to-reach", TODAY, None, text="TEXTCANARY"),), ""),
        ((a_report("accepted"), Withdraw(TODAY)), "Referral Withdrawn"),
    ],
    ids=["open", "reassigned", "withdrawn", "the plan s word on its part", "after accepting"],
)
def test_it_is_told_why_its_part_was_ended_by_others(acts: tuple[Act, ...], why: str) -> None:
    assert view(*ASSIGNED_TO_HARBOR, *acts).ended == why


def test_each_provider_sees_its_own_status() -> None:
    acts = (*ASSIGNED_TO_HARBOR, a_report("declined"), an_assignment(HEARTH, TODAY))

    assert view(*acts).status is ReferralStatus.DECLINED
    assert view(*acts, number=2).status is ReferralStatus.PENDING
