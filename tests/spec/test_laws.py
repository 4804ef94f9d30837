"""Laws that hold whatever is told, in whatever order, however often."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import (
    ASSIGNED,
    ASSIGNED_TO_HARBOR,
    CLINIC,
    HARBOR,
    HEARTH,
    PLAN,
    REFERRED,
    a_refer,
    a_report,
    a_rulebook,
    an_agreement,
    an_assignment,
    lived,
    told,
)

from fhir_hub_bridge.errors import Rejected
from fhir_hub_bridge.referral.lifecycle import apply, rebuild, standing
from fhir_hub_bridge.referral.model import (
    Act,
    Assign,
    Decide,
    Event,
    EventKind,
    Party,
    Refer,
    Referral,
    ReferralStatus,
    Report,
    Withdraw,
)
from fhir_hub_bridge.referral.notices import notices_owed

S = ReferralStatus
RULEBOOK = a_rulebook()
TOLD = told()

days = st.integers(0, 12).map(lambda n: REFERRED + timedelta(days=n))
providers = st.sampled_from([HARBOR.party, HEARTH.party, Party(name="Nameless Example")])
decisions = st.builds(
    Decide,
    status=st.sampled_from(sorted(RULEBOOK.authorization_statuses)),
    on=days,
    basis=st.sampled_from(sorted(RULEBOOK.authorization_bases)),
    reason=st.sampled_from(["", "Made-up words"]),
)
assignments = st.builds(Assign, provider=providers, on=days)
closing = st.builds(
    Report,
    status=st.just(S.LOOP_CLOSED),
    on=days,
    provider=st.one_of(providers, st.just(Party())),
    reason=st.sampled_from(sorted(RULEBOOK.closure_reasons)),
    text=st.sampled_from(["", "Made-up words"]),
)
statuses = st.builds(
    Report,
    status=st.sampled_from([s for s in S if s is not S.LOOP_CLOSED]),
    on=days,
    provider=st.one_of(providers, st.just(Party())),
)
ASKED_ANEW = (
    *ASSIGNED_TO_HARBOR,
    a_report("declined", 1),
    an_assignment(HARBOR, ASSIGNED + timedelta(days=4)),
)
withdrawals = st.builds(Withdraw, on=days, text=st.sampled_from(["", "Made-up words"]))
acts = st.one_of(decisions, assignments, statuses, closing, withdrawals)
# most stories should get somewhere
stories = st.tuples(
    st.sampled_from([(), ASSIGNED_TO_HARBOR, ASSIGNED_TO_HARBOR[:1], ASKED_ANEW]),
    st.lists(acts, max_size=9),
).map(lambda parts: (*parts[0], *parts[1]))


def told_in_turn(
    story: Sequence[Act], refer: Refer | None = None
) -> tuple[Referral, tuple[Event, ...], list[tuple[Referral, tuple[Event, ...]]]]:
    """The referral, its events, and what each act made; refused acts change nothing."""
    referral, events = lived(refer=refer)
    steps = [(referral, events)]
    for act in story:
        try:
            referral, made = apply(
                referral, act, told=TOLD, rulebook=RULEBOOK, last_event=len(events)
            )
        except Rejected:
            continue
        events = (*events, *made)
        steps.append((referral, made))
    return referral, events, steps


@pytest.mark.requirement("CLR-LAW-1")
@settings(max_examples=300, deadline=None)
@given(stories)
def test_a_referral_is_rebuilt_from_its_events_alone(story: tuple[Act, ...]) -> None:
    referral, events, _ = told_in_turn(story)

    again = rebuild(events, RULEBOOK, id=referral.id, clr_id=referral.clr_id)

    assert again == referral
    assert [event.number for event in events] == list(range(1, len(events) + 1))


@pytest.mark.requirement("CLR-LAW-2")
@settings(max_examples=300, deadline=None)
@given(stories)
def test_the_same_act_again_makes_no_event(story: tuple[Act, ...]) -> None:
    referral, events = lived()
    for act in story:
        try:
            referral, made = apply(
                referral, act, told=TOLD, rulebook=RULEBOOK, last_event=len(events)
            )
        except Rejected:
            continue
        again, more = apply(
            referral, act, told=TOLD, rulebook=RULEBOOK, last_event=len(events) + len(made)
        )
        assert (again, more) == (referral, ())
        events = (*events, *made)


@pytest.mark.requirement("CLR-LAW-3")
@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(statuses, closing), max_size=6, unique_by=lambda r: r.on).flatmap(
        lambda reports: st.tuples(st.just(reports), st.permutations(reports))
    ),
    st.sampled_from([ASSIGNED_TO_HARBOR, ASKED_ANEW]),
)
def test_the_order_of_arrival_does_not_decide_where_an_assignment_stands(
    both: tuple[list[Report], list[Report]], before: tuple[Act, ...]
) -> None:
    ends = []
    for order in both:
        reports = [Report(r.status, r.on, HARBOR.party, r.reason, r.text) for r in order]
        referral, events, _ = told_in_turn((*before, *reports))
        flagged = any({"after-closure", "second-closure"} & set(e.flags) for e in events)
        ends.append((referral, flagged))

    (one, one_flagged), (other, other_flagged) = ends

    assert [a.statuses for a in one.assignments] == [a.statuses for a in other.assignments]
    same = standing(one, RULEBOOK) is standing(other, RULEBOOK) and one.closure == other.closure
    assert same or one_flagged or other_flagged


@pytest.mark.requirement("CLR-LAW-3")
@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(statuses, closing), max_size=6))
def test_nothing_dated_before_a_provider_is_asked_anew_undoes_that(told: list[Report]) -> None:
    asked = ASKED_ANEW[-1].on
    old = [Report(r.status, r.on, HARBOR.party, r.reason, r.text) for r in told if r.on < asked]

    referral, events, _ = told_in_turn((*ASKED_ANEW, *old))

    assert standing(referral, RULEBOOK) is S.PENDING
    assert {event.flags for event in events[5:]} <= {("late",)}


@pytest.mark.requirement("CLR-CLOSE-3")
@settings(max_examples=200, deadline=None)
@given(stories)
def test_no_story_undoes_a_closure(story: tuple[Act, ...]) -> None:
    _, _, steps = told_in_turn(story)

    closures = [referral.closure for referral, _ in steps if referral.closure]
    assert len(set(closures)) <= 1
    assert closures == [r.closure for r, _ in steps][len(steps) - len(closures) :]


@pytest.mark.requirement("CLR-NOTICE-6")
@settings(max_examples=300, deadline=None)
@given(
    stories,
    st.sampled_from([None, an_agreement(), an_agreement(every_status=True, notify_from=ASSIGNED)]),
    st.sampled_from([CLINIC.party, Party(), PLAN.party, HARBOR.party]),
    st.booleans(),
)
def test_every_event_is_answered_exactly_once_by_a_named_rule(
    story: tuple[Act, ...], agreement: object, requester: Party, by_file: bool
) -> None:
    _, _, steps = told_in_turn(story, a_refer(requester=requester, inferred=by_file))

    for referral, made in steps:
        owed, not_owed = notices_owed(
            referral,
            made,
            agreement=agreement,  # type: ignore[arg-type]
            rulebook=RULEBOOK,
        )

        answered = sorted([n.event_number for n in owed] + [n.event_number for n in not_owed])
        assert answered == [event.number for event in made if _may_owe(event)]
        assert all(n.rule in RULEBOOK.suppressions for n in not_owed)
        for notice in owed:
            assert (notice.state == "withheld") == (notice.rule == "before-go-live")
            assert notice.escalate == (notice.rule == "no-agreement") == (agreement is None)
            assert notice.due_at > notice.owed_at


def _may_owe(event: Event) -> bool:
    """By the duties alone: decisions that decide, assignments, news of a status, the closure."""
    match event.kind, event.act:
        case EventKind.PROVIDER_ASSIGNED | EventKind.LOOP_CLOSED, _:
            return True
        case _, Decide(status=status):
            return event.moved and status in (
                "approved",
                "approved-modified",
                "denied",
                "withdrawn",
            )
        case _, Report(status=S.LOOP_CLOSED, provider=provider, reason=reason):
            ends_own_part = provider.is_named and reason not in CLOSES_FOR_PROVIDERS
            return event.moved and ends_own_part
        case _, Report(status=status):
            return event.moved and status is not S.PENDING
    return False


CLOSES_FOR_PROVIDERS = {
    "services-received",
    "unable-to-reach",
    "no-longer-eligible",
    "member-declined",
    "other",
}
