"""Cells that a spreadsheet would run as formulas, made harmless, and as they were again (CWE-1236).

Every table we write goes through it: rejects on their way back, notices in a drop folder.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def guarded(cell: str) -> str:
    """The cell with an apostrophe in front, where a spreadsheet would take it for a formula."""
    return f"'{cell}" if _runs(cell) else cell


def unguarded(cell: str) -> str:
    """The cell that `guarded` was given."""
    return cell[1:] if cell.startswith("'") and _runs(cell) else cell


def table_bytes(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    """A table as a CSV file: UTF-8, CRLF (RFC 4180), every cell guarded."""
    out = io.StringIO()
    csv.writer(out).writerows([guarded(cell) for cell in row] for row in (header, *rows))
    return out.getvalue().encode()


def _runs(cell: str) -> bool:
    # Behind apostrophes of its own, too: so that taking one away gives back what was there.
    return cell.lstrip("'").startswith(_FORMULA_STARTS)
