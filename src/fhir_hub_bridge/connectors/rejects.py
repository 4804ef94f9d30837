"""Rejected rows on their way back, in their sender's own columns, with what was wrong beside them.

Put right, the file is sent again: `tabular` reads its cells as they were first sent.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fhir_hub_bridge.connectors.spreadsheet_guard import guarded
from fhir_hub_bridge.connectors.tabular import REJECT_HEADINGS, Dialect
from fhir_hub_bridge.errors import Issue

_COLUMN = re.compile(r"row \d+, column (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row on its way back: its line and cells as they came, and what was wrong with them."""

    line: int
    cells: Sequence[str]
    issues: Sequence[Issue]


def write_rejects(
    path: Path,
    header: Sequence[str],
    rejects: Iterable[RejectedRow],
    *,
    dialect: Dialect,
) -> int:
    """Write rejected rows in their sender's own columns, followed by what was wrong; their number.

    One line for each row, so that it can be put right and sent again. The file appears complete or
    not at all, and only its owner may read it. Cells that a spreadsheet would run as formulas get
    an apostrophe in front. Cells beyond the header's follow at the end of their line.
    """
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    count = 0
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding=dialect.encoding, newline="") as file:
        lines = csv.writer(file, delimiter=dialect.delimiter)
        lines.writerow([guarded(cell) for cell in (*header, *REJECT_HEADINGS)])
        for reject in rejects:
            lines.writerow([guarded(cell) for cell in _reject_cells(header, reject)])
            count += 1
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return count


def _reject_cells(header: Sequence[str], reject: RejectedRow) -> list[str]:
    width = len(header)
    own = [*reject.cells[:width], *[""] * (width - len(reject.cells))]
    columns = (_COLUMN.fullmatch(issue.place) for issue in reject.issues)
    return [
        *own,
        str(reject.line),
        "; ".join(column[1] if column else "" for column in columns),
        "; ".join(issue.rule for issue in reject.issues),
        " ".join(issue.message for issue in reject.issues),
        *reject.cells[width:],
    ]
