"""`db upgrade` and `db check`: the schema, moved to what this program needs or compared with it."""

from __future__ import annotations

import asyncio

import typer

from fhir_hub_bridge.cli.endings import DONE, WRONG
from fhir_hub_bridge.cli.opening import say_json, settings_of
from fhir_hub_bridge.cli.options import AsJson, Database

commands = typer.Typer(help="The database's schema.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(commands, name="db")


@commands.command(epilog="Example: fhir-hub-bridge db upgrade --database postgresql:///bridge")
def upgrade(database: Database = "", as_json: AsJson = False) -> None:
    """Bring the database to the schema this program needs. Doing it again changes nothing."""
    before, after = asyncio.run(_looked(database, then_upgrade=True))
    if as_json:
        say_json({"before": before, "schema": after, "changed": before != after})
    elif before == after:
        typer.echo(f"The database is at schema {after} already.")
    else:
        typer.echo(f"The database went from schema {before or 'empty'} to {after}.")


@commands.command(epilog="Example: fhir-hub-bridge db check --database postgresql:///bridge")
def check(database: Database = "", as_json: AsJson = False) -> None:
    """Say whether the database is at the schema this program needs. Exit code 2 if it is not."""
    at, needed = asyncio.run(_looked(database, then_upgrade=False))
    if as_json:
        say_json({"schema": at, "needed": needed, "ready": at == needed})
    elif at == needed:
        typer.echo(f"The database is at schema {at}, as needed.")
    else:
        typer.echo(
            f"The database is at schema '{at or 'empty'}', this program needs '{needed}': "
            "run `fhir-hub-bridge db upgrade`."
        )
    raise typer.Exit(DONE if at == needed else WRONG)


async def _looked(database: str, *, then_upgrade: bool) -> tuple[str, str]:
    """Where the schema was, and where it is now (or, without upgrading, where it should be)."""
    from fhir_hub_bridge.store import schema
    from fhir_hub_bridge.store.transaction import open_store

    settings = settings_of(database)
    store = await open_store(settings.database_url)
    try:
        before = await store.read(schema.current)
        if then_upgrade and before != schema.head():
            await schema.upgrade(store)
    finally:
        await store.close()
    return before or "", schema.head()
