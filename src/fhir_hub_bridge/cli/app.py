"""All commands in one place, and what their errors become."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from fhir_hub_bridge.cli import (
    database,
    demonstration,
    files,
    mappings,
    packages,
    partners,
    referrals,
    reports,
    sandbox,
    serve,
    validate,
    work,
)
from fhir_hub_bridge.cli.endings import ended, told
from fhir_hub_bridge.errors import BridgeError

app = typer.Typer(
    name="fhir-hub-bridge",
    help="Closed-loop referrals in FHIR R4, with notices that are owed, timed and proven.",
    epilog="Example: fhir-hub-bridge demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
for family in (
    demonstration,
    serve,
    work,
    sandbox,
    files,
    referrals,
    partners,
    reports,
    mappings,
    validate,
    packages,
    database,
):
    family.add_to(app)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: what was typed); the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        app(list(arguments))
    except SystemExit as leaving:  # typer's way of ending
        return leaving.code if isinstance(leaving.code, int) else 0
    except BridgeError as error:
        return told(error, as_json="--json" in arguments)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001  its text may hold what a file held
        return ended(error)
    return 0
