"""`import`: a hub's, CBO's or plan's file comes in, and every row of it is accounted for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fhir_hub_bridge.cli.endings import DONE, PROBLEMS
from fhir_hub_bridge.cli.opening import an_instant, say_json, settings_of, with_bridge
from fhir_hub_bridge.cli.options import AsJson, Database
from fhir_hub_bridge.errors import BadSetting

if TYPE_CHECKING:
    from fhir_hub_bridge.intake.import_file import ImportSummary
    from fhir_hub_bridge.wiring import Bridge


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        "import",
        epilog="Example: fhir-hub-bridge import rtf.csv --source rtf-ecm --from bridgeway-hub",
    )(import_)


def import_(
    *,
    file: Annotated[Path, typer.Argument(help="The file, as it came.")],
    source: Annotated[
        str, typer.Option(metavar="LAYOUT", help="Its layout: a folder of mappings/hubs.")
    ],
    sender: Annotated[
        str, typer.Option("--from", metavar="PARTNER", help="Who sent it.", show_default=False)
    ] = "",
    unmatched: Annotated[
        Literal["review", "open", "keep"] | None,
        typer.Option(
            help="What becomes of rows that speak of no referral we have; "
            "default: what the layout says.",
            show_default=False,
        ),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="All of it was told elsewhere: nobody is told of it.")
    ] = False,
    as_of: Annotated[
        str,
        typer.Option(
            metavar="INSTANT", help="Pretend that it is then (tests only).", show_default=False
        ),
    ] = "",
    database: Database = "",
    as_json: AsJson = False,
) -> None:
    """Import a file. Exit code 1 if a row was rejected or needs a person."""
    from fhir_hub_bridge.intake.import_file import import_file
    from fhir_hub_bridge.store.partners import find_partner

    settings = settings_of(database)
    if as_of and settings.production:
        raise BadSetting("--as-of is for tests and is refused in production.")
    instant = an_instant(as_of, option="--as-of") if as_of else None

    async def job(bridge: Bridge) -> ImportSummary:
        layout = bridge.catalog.layout(source)
        if sender:
            await bridge.store.read(find_partner, sender)
        with _progress(file, shown=not as_json) as on_row:
            return await import_file(
                file,
                layout=layout,
                catalog=bridge.catalog,
                store=bridge.store,
                recording=bridge.recording(),
                out_folder=settings.data_folder / "imports",
                sender=sender,
                unmatched=unmatched or "",
                history=history,
                on_row=on_row,
            )

    summary = with_bridge(
        job, settings=settings, clock=(lambda: instant) if instant is not None else None
    )
    if as_json:
        say_json(asdict(summary))
    else:
        _say(file, summary)
    raise typer.Exit(PROBLEMS if summary.has_problems else DONE)


def _say(file: Path, summary: ImportSummary) -> None:
    typer.echo(
        f"{file.name}: {summary.rows_read} rows read, {summary.rows_recorded} recorded, "
        f"{summary.rows_unchanged} unchanged, {summary.rows_review} for review, "
        f"{summary.rows_rejected} rejected; {summary.notices_owed} notices owed."
    )
    decided = ", ".join(f"{name} {value!r}" for name, value in summary.decided.items())
    typer.echo(f"Read as {decided}.")
    if summary.rejects_path:
        typer.echo(f"Rejected rows, in the sender's columns: {summary.rejects_path}")
    typer.echo(f"Summary: {summary.summary_path}")


@contextmanager
def _progress(file: Path, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing anywhere else."""
    if not (shown and sys.stderr.isatty()):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task(file.name, total=None)
        yield lambda rows: bar.update(row, completed=rows, description=f"{file.name}: {rows} rows")
