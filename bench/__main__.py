"""`python -m bench [--full] [--only NAME] [--database sqlite|postgres]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from bench import interactions, many_tasks, notices, rows, starting, validation
from bench.databases import POSTGRESQL, SQLITE, Databases, databases
from bench.figures import Figure
from bench.sizes import FULL, REDUCED, Sizes

OUT = Path(__file__).parent / "out" / "latest.json"

WITHOUT = {
    "mapping": rows.pure,
    "help": starting.help_text,
    "validation": validation.figures,
}
"""What needs no database."""

ON_EACH: dict[str, Callable[[Databases, str, Sizes], AsyncIterator[Figure]]] = {
    "rows": rows.committed,
    "backlog": notices.backlog,
    "latency": notices.latency,
    "http": interactions.interactions,
    "many": many_tasks.many_tasks,
    "ready": starting.ready,
}
"""What is measured on each database."""

NAMES = (*WITHOUT, *ON_EACH, "memory")


def main() -> int:
    """Measure, print, write the JSON file; 1 when something could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the full sizes")
    parser.add_argument("--only", choices=NAMES, action="append", help="may be given again")
    parser.add_argument("--database", choices=("sqlite", "postgres"), help="default: both")
    options = parser.parse_args()
    kinds = {"sqlite": (SQLITE,), "postgres": (POSTGRESQL,), None: (SQLITE, POSTGRESQL)}
    wanted = tuple(options.only or NAMES)
    measured = uvloop.run(
        _measure(wanted, kinds[options.database], FULL if options.full else REDUCED)
    )
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps([one.as_json() for one in measured.figures], indent=2) + "\n")
    _print(measured)
    return 1 if measured.failed else 0


class _Measured:
    """The figures so far, and what failed."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self.failed: list[str] = []


async def _measure(wanted: tuple[str, ...], kinds: tuple[str, ...], sizes: Sizes) -> _Measured:
    measured = _Measured()
    with databases(kinds) as found:
        if POSTGRESQL in kinds and POSTGRESQL not in found.kinds:
            measured.failed.append("PostgreSQL was not found on this machine")
        for name in wanted:
            if name in ON_EACH:
                for kind in [kind for kind in kinds if kind in found.kinds]:
                    await _take(measured, f"{name} on {kind}", ON_EACH[name](found, kind, sizes))
            else:
                figures = starting.memory() if name == "memory" else WITHOUT[name](sizes)
                await _take(measured, name, figures)
    return measured


async def _take(
    measured: _Measured, what: str, figures: Iterator[Figure] | AsyncIterator[Figure]
) -> None:
    """Take each figure as it comes; what breaks is named, and the rest goes on."""
    sys.stderr.write(f"measuring {what} ...\n")
    try:
        if isinstance(figures, AsyncIterator):
            async for figure in figures:
                measured.figures.append(figure)
        else:
            measured.figures.extend(figures)
    except Exception as error:  # noqa: BLE001  one figure less is better than none
        measured.failed.append(f"{what}: {type(error).__name__}: {error}")


def _print(measured: _Measured) -> None:
    table = Table(title="Medians; client, server and database share this machine's cores")
    for heading in ("what", "database"):
        table.add_column(heading)
    for heading in ("measured", "goal"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("unit")
    table.add_column("beside it", style="dim")
    for one in measured.figures:
        met = one.goal.is_met(one.value)
        style = "" if met is None else "green" if met else "red"
        said = f"{one.value:,.0f}" if one.value >= 100 else f"{one.value:,.2f}"
        table.add_row(
            one.name,
            one.database,
            f"[{style}]{said}[/]" if style else said,
            one.goal.words,
            one.goal.unit,
            one.goal.beside,
        )
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    for failure in measured.failed:
        console.print(f"not measured: {failure}", style="red", markup=False)
    console.print(f"written to bench/out/{OUT.name}")


if __name__ == "__main__":
    sys.exit(main())
