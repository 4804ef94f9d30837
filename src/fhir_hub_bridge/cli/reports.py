"""`report open-loops`: what is open, what is due, who has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fhir_hub_bridge.cli.opening import say_json, settings_of, with_bridge
from fhir_hub_bridge.cli.options import AsJson, Database

if TYPE_CHECKING:
    from fhir_hub_bridge.store.console_queries import Overview
    from fhir_hub_bridge.wiring import Bridge

commands = typer.Typer(help="Where things stand.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(commands, name="report")


@commands.callback()
def _keep_the_group() -> None:
    """Where things stand."""


@commands.command("open-loops", epilog="Example: fhir-hub-bridge report open-loops --limit 20")
def open_loops(
    limit: Annotated[int, typer.Option(min=1, help="The most urgent so many.")] = 50,
    database: Database = "",
    as_json: AsJson = False,
) -> None:
    """List the loops that are open, or closed with somebody still to be told."""
    from fhir_hub_bridge.store import console_queries
    from fhir_hub_bridge.terminal import open_loops_as_json, tell_open_loops

    async def job(bridge: Bridge) -> tuple[Overview, Bridge]:
        found = await bridge.store.read_snapshot(
            console_queries.overview, now=bridge.clock(), limit=limit
        )
        return found, bridge

    found, bridge = with_bridge(job, settings=settings_of(database))
    if as_json:
        say_json(open_loops_as_json(found, bridge.catalog.rulebook))
    else:
        tell_open_loops(found, bridge.catalog.rulebook)
