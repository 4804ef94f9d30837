"""The states of a referral's Task, as the table that SDOH Clinical Care draws.

The guard, the shortest legal path and the diagram in the docs all come from `TRANSITIONS`.
Requester: who wants the referral done; target: who does it. Any status not drawn is refused.
http://hl7.org/fhir/us/sdoh-clinicalcare (referral workflow, Task status)
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fhir_hub_bridge.errors import RuleBroken

NEW: Final = "(new)"
REQUESTER: Final = "requester"
TARGET: Final = "target"

# Their order settles which of two equally short paths is taken.
STATUSES: Final = (
    "draft",
    "requested",
    "accepted",
    "in-progress",
    "on-hold",
    "completed",
    "failed",
    "rejected",
    "cancelled",
    "entered-in-error",
)
TERMINAL: Final = frozenset({"completed", "failed", "rejected", "cancelled", "entered-in-error"})

_BY_REQUESTER: Final = frozenset({REQUESTER})
_BY_TARGET: Final = frozenset({TARGET})
_BY_EITHER: Final = frozenset({REQUESTER, TARGET})

TRANSITIONS: Final[Mapping[tuple[str, str], frozenset[str]]] = MappingProxyType(
    {
        (NEW, "draft"): _BY_REQUESTER,
        (NEW, "requested"): _BY_REQUESTER,
        ("draft", "requested"): _BY_REQUESTER,
        ("requested", "accepted"): _BY_TARGET,
        ("requested", "rejected"): _BY_TARGET,
        ("requested", "cancelled"): _BY_EITHER,
        ("accepted", "in-progress"): _BY_TARGET,
        ("accepted", "on-hold"): _BY_TARGET,
        ("accepted", "completed"): _BY_TARGET,
        ("accepted", "failed"): _BY_TARGET,
        ("accepted", "cancelled"): _BY_EITHER,
        ("in-progress", "on-hold"): _BY_TARGET,
        ("in-progress", "completed"): _BY_TARGET,
        ("in-progress", "failed"): _BY_TARGET,
        ("in-progress", "cancelled"): _BY_EITHER,
        ("on-hold", "in-progress"): _BY_TARGET,
        ("on-hold", "completed"): _BY_TARGET,
        ("on-hold", "failed"): _BY_TARGET,
        ("on-hold", "cancelled"): _BY_EITHER,
        **{
            (status, "entered-in-error"): _BY_REQUESTER
            for status in STATUSES
            if status != "entered-in-error"
        },
    }
)


def normalised(status: str) -> str:
    """Read `received`, which BSeR and older systems send, as `requested`."""
    return "requested" if status == "received" else status


def check_transition(old: str, new: str, *, by: str) -> None:
    """Refuse a change of Task.status that is not drawn, or not this party's to make.

    `old` is NEW for a Task that is being created; an unchanged status is no transition.
    Raises RuleBroken (`task-transition`) naming from, to and who may.
    """
    _check_known(old, new)
    if old == new or by in TRANSITIONS.get((old, new), ()):
        return
    who = TRANSITIONS.get((old, new))
    if who:
        message = f"A Task goes from {old} to {new} by its {_names(who)}, not by its {by}."
    else:
        message = f"A Task may not go from {old} to {new}; {_ways_out(old)}."
    raise _broken(message)


def can_transition(old: str, new: str, *, by: str) -> bool:
    """Whether `check_transition` would let this change pass."""
    try:
        check_transition(old, new, by=by)
    except RuleBroken:
        return False
    return True


def legal_path(old: str, new: str, *, through_in_progress: bool = False) -> tuple[str, ...]:
    """Find the shortest legal path: the statuses after `old`, up to and with `new`.

    A path to `completed` always passes `in-progress`; others do where `through_in_progress` says
    so. Of equally short paths the one through earlier STATUSES is taken. Who may take each step
    is not asked. Raises RuleBroken (`task-transition`) where no path exists.
    """
    _check_known(old, new)
    if old == new:
        return ()
    if (through_in_progress or new == "completed") and "in-progress" not in (old, new):
        return _shortest(old, "in-progress") + _shortest("in-progress", new)
    return _shortest(old, new)


def mermaid() -> str:
    """Draw the table as a Mermaid state diagram; `entered-in-error` is drawn once for all."""
    lines = ["stateDiagram-v2"]
    lines += [f'    state "{status}" as {_node(status)}' for status in STATUSES if "-" in status]
    lines.append('    state "any status" as any_status')
    for (old, new), who in TRANSITIONS.items():
        if new != "entered-in-error":
            lines.append(f"    {_node(old)} --> {_node(new)}: {_names(who)}")
    lines.append(f"    any_status --> entered_in_error: {_names(_BY_REQUESTER)}")
    lines += [f"    {_node(status)} --> [*]" for status in STATUSES if status in TERMINAL]
    return "\n".join(lines) + "\n"


def _check_known(old: str, new: str) -> None:
    # The unknown text is not repeated: it came from outside.
    if (old != NEW and old not in STATUSES) or new not in STATUSES:
        raise _broken(f"A referral Task knows only these statuses: {', '.join(STATUSES)}.")


def _ways_out(old: str) -> str:
    ways = [f"{new} (by {_names(who)})" for (a, new), who in TRANSITIONS.items() if a == old]
    return f"from {old} it may go to {', '.join(ways)}" if ways else f"{old} is final"


def _names(who: frozenset[str]) -> str:
    return " or ".join(sorted(who))


def _shortest(old: str, new: str) -> tuple[str, ...]:
    paths: list[tuple[str, ...]] = [()]
    seen = {old}
    for path in paths:
        last = path[-1] if path else old
        for status in STATUSES:
            if (last, status) not in TRANSITIONS or status in seen:
                continue
            if status == new:
                return (*path, status)
            seen.add(status)
            paths.append((*path, status))
    raise _broken(f"No legal path leads a Task from {old} to {new}.")


def _node(status: str) -> str:
    return "[*]" if status == NEW else status.replace("-", "_")


def _broken(message: str) -> RuleBroken:
    return RuleBroken("task-transition", message, place="Task.status")
