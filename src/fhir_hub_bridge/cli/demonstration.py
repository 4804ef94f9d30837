"""`demo`: the whole loop with pretend partners, on this machine, within a minute and a half."""

from __future__ import annotations

from typing import Annotated

import typer

from fhir_hub_bridge.cli.options import AsJson, Database
from fhir_hub_bridge.errors import BadSetting


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(epilog="Example: fhir-hub-bridge demo --once --json")(demo)


def demo(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Run to the end and stop; else the console stays open.")
    ] = False,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="An outage that ends with the third state, not after 25 s."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Other made-up members for another seed.")] = 1,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the folder with the database and the files.")
    ] = False,
    database: Database = "",
    as_json: AsJson = False,
) -> None:
    """Run made-up referrals round the whole loop, tell one story, then the totals.

    Exit code 0 only if every loop that should close closed, and every notice came to the end that
    its script expects. `--database` names an empty PostgreSQL database; default: SQLite in a
    folder of its own.
    """
    from fhir_hub_bridge.demo.run import Wishes, run_demo

    if as_json and not once:
        raise BadSetting("demo --json needs --once: it prints one JSON object at the end.")
    wishes = Wishes(once=once, fast=fast, seed=seed, keep=keep, as_json=as_json, database=database)
    raise typer.Exit(run_demo(wishes))
