"""Task.status: the table, its guard, its shortest paths, its picture."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_hub_bridge.errors import RuleBroken
from fhir_hub_bridge.fhir.task_states import (
    NEW,
    REQUESTER,
    STATUSES,
    TARGET,
    TERMINAL,
    TRANSITIONS,
    can_transition,
    check_transition,
    legal_path,
    mermaid,
    normalised,
)


def test_table_knows_only_the_listed_statuses() -> None:
    named = {status for pair in TRANSITIONS for status in pair}

    assert named == {NEW, *STATUSES}
    assert set(STATUSES) >= TERMINAL


def test_out_of_a_terminal_status_leads_only_entered_in_error() -> None:
    ways = {(old, new) for old, new in TRANSITIONS if old in TERMINAL}

    assert {new for _, new in ways} == {"entered-in-error"}
    assert "entered-in-error" not in {old for old, _ in ways}


@pytest.mark.parametrize(
    ("old", "new", "by"),
    [
        (NEW, "requested", REQUESTER),
        ("requested", "accepted", TARGET),
        ("requested", "cancelled", TARGET),
        ("on-hold", "completed", TARGET),
        ("completed", "entered-in-error", REQUESTER),
        ("accepted", "accepted", TARGET),
        ("completed", "completed", REQUESTER),
    ],
)
def test_drawn_transition_passes(old: str, new: str, by: str) -> None:
    check_transition(old, new, by=by)


def test_undrawn_transition_is_refused_naming_from_to_and_who_may() -> None:
    with pytest.raises(RuleBroken) as caught:
        check_transition("requested", "completed", by=TARGET)

    (issue,) = caught.value.issues
    assert caught.value.rule == issue.rule == "task-transition"
    assert issue.code == "business-rule"
    assert issue.place == "Task.status"
    for word in ("requested", "completed", "accepted (by target)", "requester or target"):
        assert word in issue.message


def test_transition_by_the_wrong_party_names_the_right_one() -> None:
    with pytest.raises(RuleBroken, match="from requested to accepted by its target, not by"):
        check_transition("requested", "accepted", by=REQUESTER)


def test_unknown_status_is_refused_and_not_repeated() -> None:
    with pytest.raises(RuleBroken) as caught:
        check_transition("requested", "Maria Lopez", by=TARGET)

    assert "Maria" not in str(caught.value)
    assert not can_transition("ready", "completed", by=TARGET)
    assert can_transition("accepted", "completed", by=TARGET)


def test_received_is_read_as_requested() -> None:
    assert normalised("received") == "requested"
    assert normalised("accepted") == "accepted"


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("requested", "completed", ("accepted", "in-progress", "completed")),
        ("accepted", "completed", ("in-progress", "completed")),
        ("on-hold", "completed", ("in-progress", "completed")),
        ("in-progress", "completed", ("completed",)),
        ("requested", "failed", ("accepted", "failed")),
        ("requested", "rejected", ("rejected",)),
        ("requested", "in-progress", ("accepted", "in-progress")),
        ("requested", "cancelled", ("cancelled",)),
        (NEW, "accepted", ("requested", "accepted")),
        (NEW, "completed", ("requested", "accepted", "in-progress", "completed")),
        ("accepted", "accepted", ()),
    ],
)
def test_path_is_the_shortest_legal_one(old: str, new: str, path: tuple[str, ...]) -> None:
    assert legal_path(old, new) == path


def test_path_goes_through_in_progress_where_asked() -> None:
    assert legal_path("accepted", "failed", through_in_progress=True) == ("in-progress", "failed")


@pytest.mark.parametrize(
    ("old", "new"), [("completed", "accepted"), ("accepted", "rejected"), ("failed", "completed")]
)
def test_without_a_legal_path_the_rule_is_broken(old: str, new: str) -> None:
    with pytest.raises(RuleBroken, match="No legal path"):
        legal_path(old, new)


@given(st.sampled_from([NEW, *STATUSES]), st.sampled_from(STATUSES), st.booleans())
def test_every_step_of_every_path_is_drawn(old: str, new: str, through: bool) -> None:
    try:
        path = legal_path(old, new, through_in_progress=through)
    except RuleBroken:
        return

    assert all(step in TRANSITIONS for step in pairwise((old, *path)))
    assert not path or path[-1] == new
    assert len(set(path)) == len(path)
    assert not set(path[:-1]) & TERMINAL
    if path and new == "completed":
        assert "in-progress" in (old, *path)


def test_picture_shows_every_drawn_transition() -> None:
    picture = mermaid()

    assert picture.startswith("stateDiagram-v2\n")
    for (old, new), who in TRANSITIONS.items():
        start = "[*]" if old == NEW else old.replace("-", "_")
        if new == "entered-in-error":
            start = "any_status"
        line = f"    {start} --> {new.replace('-', '_')}: {' or '.join(sorted(who))}\n"
        assert line in picture


def test_entered_in_error_is_open_to_every_status_as_the_picture_says() -> None:
    sources = {old for old, new in TRANSITIONS if new == "entered-in-error"}

    assert sources == set(STATUSES) - {"entered-in-error"}
