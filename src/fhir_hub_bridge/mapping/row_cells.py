"""The row at hand: its cells by what they say, and what was found wrong or worth a look so far.

The one value that changes while a row is read; `row_to_referral` and `reported_status` fill it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from fhir_hub_bridge.errors import Issue
from fhir_hub_bridge.mapping.cell_values import Fault, read_date
from fhir_hub_bridge.mapping.header import HeaderReading
from fhir_hub_bridge.mapping.layout import DateForm, Field, Layout

_FIELDS = tuple(Field)
# "UNKNOWN" may stand for nothing in an address, but never in a status, its date or its reason; and
# Na is a family name.
_MAY_BE_BLANK = tuple(
    at
    for at, said in enumerate(_FIELDS)
    if said not in (Field.FAMILY, Field.GIVEN) and at < _FIELDS.index(Field.STATUS)
)


@dataclass(slots=True, kw_only=True)
class RowCells:
    """Cells by field, white space tidied; issues and flags in the order found."""

    layout: Layout
    header: HeaderReading
    line: int
    cells: dict[Field, str]
    issues: list[Issue] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)

    def fault(self, at: Field, fault: Fault) -> None:
        """Note what is wrong with the cell of this field."""
        self.issues.append(
            Issue(
                place=self.place(at),
                message=fault.message,
                code=fault.code,
                rule=fault.rule,
                value=self.cells[at] if fault.echo else "",
            )
        )

    def place(self, at: Field) -> str:
        """Where this field's cell stands in the sender's file."""
        return f"row {self.line}, column {self.header.heading(at, self.layout)}"

    def past_date(self, at: Field, forms: tuple[DateForm, ...], *, today: date) -> date | None:
        """The date in this field's cell; a fault if it is none, or lies after today."""
        read = read_date(self.cells[at], forms)
        if isinstance(read, Fault):
            self.fault(at, read)
            return None
        if read > today:
            self.fault(at, Fault("date-in-future", "This date lies in the future."))
            return None
        return read


def row_cells(
    layout: Layout, header: HeaderReading, cells: Sequence[str], *, line: int
) -> RowCells:
    """Sort a row's cells by field. Cells of absent columns are ""."""
    # Most cells need no tidying, and few are short enough to be one of the words for nothing:
    # asking first is cheaper, and this is the busiest loop of an import.
    picked = [
        cell if not cell or cell.isalnum() else " ".join(cell.split())
        for cell in header.pick((*cells, ""))
    ]
    longest = header.longest_blank
    for at in _MAY_BE_BLANK:
        cell = picked[at]
        if cell and len(cell) <= longest and cell.casefold() in layout.blanks:
            picked[at] = ""
    return RowCells(
        layout=layout, header=header, line=line, cells=dict(zip(_FIELDS, picked, strict=True))
    )
