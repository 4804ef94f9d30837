"""Who is told what by when, and by which rule nobody is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from tests.builders import (
    ASSIGNED,
    ASSIGNED_TO_HARBOR,
    CLINIC,
    DECIDED,
    HARBOR,
    HEARTH,
    NOW,
    PLAN,
    a_closure,
    a_decision,
    a_refer,
    a_report,
    a_rulebook,
    an_agreement,
    an_assignment,
    lived,
    moments,
    told,
)

from fhir_hub_bridge.errors import UnmappedCode
from fhir_hub_bridge.referral.model import Act, NoticeType, Party, Refer, Told
from fhir_hub_bridge.referral.notices import NoticeOwed, NotOwed, notices_owed
from fhir_hub_bridge.referral.parties import Agreement
from fhir_hub_bridge.referral.rulebook import Rulebook

RULEBOOK = a_rulebook()
EVERY_STATUS = an_agreement(every_status=True)
WHOLE_LOOP = (*ASSIGNED_TO_HARBOR, a_report("accepted", 2), a_closure(on=9))


def asked(
    *acts: Act,
    refer: Refer | None = None,
    by: Told | None = None,
    agreement: Agreement | None = EVERY_STATUS,
    rulebook: Rulebook = RULEBOOK,
) -> tuple[tuple[NoticeOwed, ...], tuple[NotOwed, ...]]:
    """What the whole history owes, each event asked when it happened."""
    owed: list[NoticeOwed] = []
    not_owed: list[NotOwed] = []
    for event, referral in moments(*acts, refer=refer, by=by):
        due, none = notices_owed(referral, (event,), agreement=agreement, rulebook=rulebook)
        owed += due
        not_owed += none
    return tuple(owed), tuple(not_owed)


def types(owed: tuple[NoticeOwed, ...]) -> list[str]:
    return [notice.type.value for notice in owed]


@pytest.mark.requirement("CLR-NOTICE-1")
def test_the_referrer_is_told_of_decision_provider_and_closure_always() -> None:
    owed, not_owed = asked(*WHOLE_LOOP, agreement=an_agreement())

    assert types(owed) == ["authorization-decided", "provider-assigned", "loop-closed"]
    assert [(n.type.value, n.rule) for n in not_owed] == [("status-changed", "not-agreed")]
    assert {n.recipient for n in owed} == {CLINIC.party}
    assert all((n.state, n.rule, n.escalate) == ("pending", "", False) for n in owed)


@pytest.mark.requirement("CLR-NOTICE-1")
def test_a_denial_tells_the_decision_and_the_closure() -> None:
    owed, _ = asked(a_decision("denied"))

    assert types(owed) == ["authorization-decided", "loop-closed"]


@pytest.mark.requirement("CLR-AUTH-3")
@pytest.mark.parametrize("status", ["pending", "deferred"])
def test_nobody_is_told_of_what_decides_nothing(status: str) -> None:
    assert asked(a_decision(status)) == ((), ())


@pytest.mark.requirement("CLR-AUTH-5")
def test_a_decision_after_the_closure_is_told() -> None:
    presumptive = a_decision("pending", basis="presumptive")

    owed, _ = asked(
        presumptive, an_assignment(), a_closure(on=3), a_decision("denied", ASSIGNED + timedelta(6))
    )

    assert types(owed) == ["provider-assigned", "loop-closed", "authorization-decided"]


@pytest.mark.requirement("CLR-AUTH-4")
def test_nobody_is_told_of_a_decision_that_does_not_stand() -> None:
    owed, not_owed = asked(a_decision(), a_decision("denied", DECIDED - timedelta(1)))

    assert (types(owed), not_owed) == (["authorization-decided"], ())


@pytest.mark.requirement("CLR-NOTICE-2")
def test_every_status_is_told_where_the_agreement_asks_for_it() -> None:
    owed, not_owed = asked(*WHOLE_LOOP)

    assert types(owed)[2:] == ["status-changed", "loop-closed"]
    assert not_owed == ()


@pytest.mark.requirement("CLR-NOTICE-2")
def test_a_closure_is_told_once_and_pending_not_at_all() -> None:
    owed, _ = asked(*ASSIGNED_TO_HARBOR, a_report("pending", 1), a_closure(on=2))

    assert types(owed) == ["authorization-decided", "provider-assigned", "loop-closed"]


@pytest.mark.requirement("CLR-STATUS-3")
@pytest.mark.parametrize(
    "kept",
    [a_report("outreach-initiated", 1), a_report("accepted", 6), a_report("pending", 6)],
    ids=["late", "repeated", "out-of-order"],
)
def test_nobody_is_told_of_a_status_that_was_only_kept(kept: Act) -> None:
    before = (*ASSIGNED_TO_HARBOR, a_report("accepted", 3), a_report("declined", 4))

    assert asked(*before, kept) == asked(*before)


@pytest.mark.requirement("CLR-CLOSE-3")
def test_nobody_is_told_of_a_status_after_the_closure() -> None:
    after = (*WHOLE_LOOP, a_report("outreach-initiated", 12), a_closure("other", 13, text="Why"))

    assert asked(*after) == asked(*WHOLE_LOOP)


@pytest.mark.requirement("CLR-NOTICE-3")
@pytest.mark.parametrize(
    ("rule", "refer"),
    [
        ("self-referral", a_refer(self_referral=True)),
        ("referrer-unknown", a_refer(requester=Party())),
        ("referrer-unknown", a_refer(inferred=True)),
        ("plan-internal", a_refer(requester=PLAN.party)),
        ("outside-clr", a_refer(service="sobering-centers")),
        ("outside-clr", a_refer(service="community-health-worker")),
        ("outside-clr", a_refer(service="doula")),
        ("outside-clr", a_refer(referred_on=date(2025, 6, 30))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nobody_is_owed_a_notice_by_a_named_rule(rule: str, refer: Refer) -> None:
    owed, not_owed = asked(*WHOLE_LOOP, refer=refer)

    assert owed == ()
    assert [n.type.value for n in not_owed] == [
        "authorization-decided",
        "provider-assigned",
        "status-changed",
        "loop-closed",
    ]
    assert {n.rule for n in not_owed} == {rule}


@pytest.mark.requirement("CLR-NOTICE-3")
def test_a_referrer_that_is_the_provider_is_told_of_the_decision_only() -> None:
    owed, not_owed = asked(*WHOLE_LOOP, refer=a_refer(requester=HARBOR.party))

    assert types(owed) == ["authorization-decided"]
    assert {n.rule for n in not_owed} == {"referrer-is-provider"}


@pytest.mark.requirement("CLR-NOTICE-3")
def test_a_referrer_that_declined_as_provider_is_told_of_the_next_one() -> None:
    declined = (a_report("declined", 2), an_assignment(HEARTH, ASSIGNED + timedelta(3)))

    owed, _ = asked(
        *ASSIGNED_TO_HARBOR,
        *declined,
        a_closure(on=9, provider=HEARTH),
        refer=a_refer(requester=HARBOR.party),
    )

    assert types(owed) == ["authorization-decided", "provider-assigned", "loop-closed"]


@pytest.mark.requirement("CLR-NOTICE-3")
def test_history_told_elsewhere_owes_nothing() -> None:
    owed, not_owed = asked(*WHOLE_LOOP, by=told(history=True))

    assert owed == ()
    assert {n.rule for n in not_owed} == {"told-elsewhere"}


@pytest.mark.requirement("CLR-NOTICE-3")
def test_an_operator_may_switch_a_rule_off() -> None:
    off = replace(RULEBOOK.suppressions["self-referral"], applies=False)
    rulebook = replace(RULEBOOK, suppressions={**RULEBOOK.suppressions, off.id: off})

    owed, _ = asked(*WHOLE_LOOP, refer=a_refer(self_referral=True), rulebook=rulebook)

    assert len(owed) == 4


@pytest.mark.requirement("CLR-NOTICE-4")
def test_facts_before_the_agreement_starts_are_withheld() -> None:
    later = an_agreement(every_status=True, notify_from=ASSIGNED + timedelta(days=3))

    owed, not_owed = asked(*WHOLE_LOOP, agreement=later)

    assert [(n.type.value, n.state, n.rule) for n in owed] == [
        ("authorization-decided", "withheld", "before-go-live"),
        ("provider-assigned", "withheld", "before-go-live"),
        ("status-changed", "withheld", "before-go-live"),
        ("loop-closed", "pending", ""),
    ]
    assert not_owed == ()


@pytest.mark.requirement("CLR-NOTICE-4")
def test_the_day_an_agreement_starts_is_told() -> None:
    owed, _ = asked(a_decision(), agreement=an_agreement(notify_from=DECIDED))

    assert [(n.state, n.rule) for n in owed] == [("pending", "")]


@pytest.mark.requirement("CLR-NOTICE-5")
def test_without_an_agreement_what_is_owed_is_escalated_at_once() -> None:
    unknown = Party(name="Walk-in clinic")

    owed, not_owed = asked(*WHOLE_LOOP, refer=a_refer(requester=unknown), agreement=None)

    assert types(owed) == ["authorization-decided", "provider-assigned", "loop-closed"]
    assert {(n.state, n.rule, n.escalate) for n in owed} == {("pending", "no-agreement", True)}
    assert [n.rule for n in not_owed] == ["not-agreed"]


@pytest.mark.requirement("CLR-NOTICE-6")
def test_every_event_that_may_owe_is_answered_once() -> None:
    acts = (
        *ASSIGNED_TO_HARBOR,
        a_report("declined", 2),
        an_assignment(HEARTH, ASSIGNED + timedelta(3)),
        a_report("accepted", 4, HEARTH),
        a_closure("unable-to-reach", 8, HEARTH),
    )

    owed, not_owed = asked(*acts)

    answered = sorted([n.event_number for n in owed] + [n.event_number for n in not_owed])
    assert answered == [2, 3, 4, 5, 6, 8]  # 1: the referral itself; 7: the report that closed


@pytest.mark.requirement("CLR-DUE-1")
def test_a_notice_is_due_by_the_row_of_its_type_from_when_the_plan_could_know() -> None:
    owed, _ = asked(*WHOLE_LOOP)

    # Learned on Friday the 20th; Thanksgiving and the day after are holidays of the state.
    second, fifth = datetime(2026, 11, 25, 1, tzinfo=UTC), datetime(2026, 12, 2, 1, tzinfo=UTC)
    assert {n.type: n.due_at for n in owed} == {
        NoticeType.AUTHORIZATION_DECIDED: second,
        NoticeType.PROVIDER_ASSIGNED: second,
        NoticeType.STATUS_CHANGED: fifth,
        NoticeType.LOOP_CLOSED: fifth,
    }
    assert all(n.owed_at == NOW for n in owed)


@pytest.mark.requirement("CLR-DUE-1")
def test_a_row_may_count_from_the_date_of_the_fact() -> None:
    rules = tuple(replace(r, clock_starts="effective_at") for r in RULEBOOK.notice_rules)

    owed, _ = asked(a_decision(), rulebook=replace(RULEBOOK, notice_rules=rules))

    # Decided on Wednesday the 4th: due on Friday the 6th, at the close of business.
    assert owed[0].due_at == datetime(2026, 11, 7, 1, tzinfo=UTC)


@pytest.mark.requirement("CLR-DUE-1")
def test_every_due_moment_names_its_row_and_how_firm_it_is() -> None:
    owed, _ = asked(*WHOLE_LOOP)

    assert {n.because.citation.confidence for n in owed} == {"project-default"}
    assert all("not" in n.because.citation.source.casefold() for n in owed)


@pytest.mark.requirement("CLR-DUE-1")
def test_a_row_counts_from_its_own_day_on() -> None:
    sooner = replace(
        RULEBOOK.notice_rule(NoticeType.AUTHORIZATION_DECIDED, date(2026, 11, 20)),
        id="sooner",
        within=1,
        valid_from=date(2026, 11, 20),
    )
    rulebook = replace(RULEBOOK, notice_rules=(*RULEBOOK.notice_rules, sooner))

    owed, _ = asked(a_decision(), rulebook=rulebook)
    before, _ = asked(a_decision(), by=told(at=NOW - timedelta(days=1)), rulebook=rulebook)

    assert owed[0].because.id == "sooner"
    assert before[0].because.id != "sooner"


@pytest.mark.requirement("CLR-DUE-1")
def test_a_day_before_every_row_has_no_answer() -> None:
    with pytest.raises(UnmappedCode):
        RULEBOOK.notice_rule(NoticeType.LOOP_CLOSED, date(2025, 6, 30))


@pytest.mark.requirement("CLR-SCOPE-1")
def test_services_outside_are_carried_through_the_whole_loop() -> None:
    for service in ("sobering-centers", "community-health-worker", "doula"):
        referral, _ = lived(*WHOLE_LOOP, refer=a_refer(service=service))

        assert referral.closure
        assert referral.closure.reason == "services-received"


@pytest.mark.requirement("CLR-SCOPE-2")
def test_a_service_that_comes_into_scope_is_a_row_of_data() -> None:
    doula = replace(RULEBOOK.service("doula"), clr_from=date(2026, 11, 1))
    rulebook = replace(RULEBOOK, services={**RULEBOOK.services, "doula": doula})

    owed, _ = asked(*WHOLE_LOOP, refer=a_refer(service="doula"), rulebook=rulebook)
    before, _ = asked(
        *WHOLE_LOOP,
        refer=a_refer(service="doula", referred_on=date(2026, 10, 31)),
        rulebook=rulebook,
    )

    assert len(owed) == 4
    assert before == ()


@pytest.mark.requirement("CLR-NOTICE-3")
def test_where_no_referral_date_is_known_scope_is_judged_by_the_day_of_receipt() -> None:
    early = told(at=datetime(2025, 6, 30, 20, tzinfo=UTC))

    _, not_owed = asked(a_decision(on=date(2025, 6, 30)), refer=a_refer(referred_on=None), by=early)

    assert [n.rule for n in not_owed] == ["outside-clr"]
