"""`mapping check`: every fault of a mappings folder, with file and line."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fhir_hub_bridge.cli.endings import DONE, PROBLEMS
from fhir_hub_bridge.cli.opening import say_json, settings_of
from fhir_hub_bridge.cli.options import AsJson, Database

commands = typer.Typer(help="The mappings folder: layouts, codes, rulebook.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(commands, name="mapping")


@commands.callback()
def _keep_the_group() -> None:
    """The mappings folder: layouts, codes, rulebook."""


@commands.command(epilog="Example: fhir-hub-bridge mapping check --folder ./our-mappings")
def check(
    folder: Annotated[
        Path | None, typer.Option(help="Default: the folder of the settings.", show_default=False)
    ] = None,
    database: Database = "",
    as_json: AsJson = False,
) -> None:
    """Check the mappings folder. Exit code 1 if it has faults; no database is opened."""
    from fhir_hub_bridge.mapping.catalog import check as faults_of

    where = folder or settings_of(database).mappings
    issues = faults_of(where)
    faults = [issue for issue in issues if issue.code != "informational"]
    if as_json:
        say_json({"folder": where, "faults": len(faults), "issues": [asdict(i) for i in issues]})
    else:
        for issue in issues:
            typer.echo(f"{issue.place}: {issue.message}")
        typer.echo(f"{where}: {f'{len(faults)} fault(s).' if faults else 'no faults.'}")
    raise typer.Exit(PROBLEMS if faults else DONE)
