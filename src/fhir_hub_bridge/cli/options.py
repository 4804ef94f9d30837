"""The options that every command has."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

Database: TypeAlias = Annotated[
    str,
    typer.Option(
        "--database",
        metavar="URL",
        help="sqlite:///path or postgresql://...; default: SQLite in the user's data folder.",
        show_default=False,
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]
StopWithParent: TypeAlias = Annotated[
    bool, typer.Option("--stop-with-parent", hidden=True, help="Stop when standard input ends.")
]
