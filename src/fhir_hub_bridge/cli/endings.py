"""How a command ends: what an error becomes on standard error, and as an exit code.

Nothing about a member is said there: an issue's place and sentence, never the value.
"""

from __future__ import annotations

import json
from typing import Final

import typer

from fhir_hub_bridge.errors import (
    BridgeError,
    Conflict,
    Misconfigured,
    PartnerTrouble,
    Rejected,
    StoreBusy,
    Unknown,
)

DONE: Final = 0
PROBLEMS: Final = 1
WRONG: Final = 2

EXIT_CODES: Final[tuple[tuple[type[BridgeError], int], ...]] = (
    (Rejected, PROBLEMS),
    (Conflict, PROBLEMS),
    (Unknown, PROBLEMS),
    (PartnerTrouble, PROBLEMS),
    (Misconfigured, WRONG),
    (StoreBusy, WRONG),  # no server, or one that does not take it now: not the input's fault
    (BridgeError, WRONG),
)
"""The first family that fits decides."""

_ISSUES_SHOWN: Final = 20


def told(error: BridgeError, *, as_json: bool = False) -> int:
    """Say what is wrong, in sentences; the exit code."""
    issues = error.issues if isinstance(error, Rejected) else ()
    typer.echo(str(error), err=True)
    for issue in issues[:_ISSUES_SHOWN]:
        if issue.message not in str(error):
            typer.echo(
                f"  {issue.place}: {issue.message}" if issue.place else issue.message, err=True
            )
    if len(issues) > _ISSUES_SHOWN:
        typer.echo(f"  and {len(issues) - _ISSUES_SHOWN} more", err=True)
    if as_json:
        listed = [{"place": i.place, "rule": i.rule, "message": i.message} for i in issues]
        typer.echo(json.dumps({"error": str(error), "issues": listed}))
    return next(code for family, code in EXIT_CODES if isinstance(error, family))


def ended(error: Exception) -> int:
    """A fault of ours: named by its class and place alone."""
    from fhir_hub_bridge.logs import places_of

    where = ", ".join(places_of(error.__traceback__)) or "an unknown place"
    typer.echo(f"Something went wrong on our side: {type(error).__name__} at {where}", err=True)
    return WRONG
