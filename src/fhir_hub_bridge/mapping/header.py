"""Finds a layout's columns in the first line of a file, and says which are missing or unclear.

Tolerant of case, spaces, punctuation, a BOM and known aliases; unknown columns are kept as they
are. Before: `connectors.tabular` reads the line. After: `row_to_referral` reads rows by it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from operator import itemgetter
from typing import cast

from fhir_hub_bridge.errors import Issue
from fhir_hub_bridge.mapping.layout import Column, DateForm, Field, Layout, fold_heading


@dataclass(frozen=True, slots=True)
class HeaderReading:
    """Where each field stands in this file; compiled once, so that rows are read fast.

    Rows may be read only when `issues` is empty.
    """

    columns: tuple[str, ...]  # the sender's headings, made unique, one for each cell of a row
    found: dict[Field, int]
    unknown: tuple[str, ...]  # headings that the layout does not know; kept with each row
    issues: tuple[Issue, ...]
    pick: Callable[[Sequence[str]], tuple[str, ...]]  # a row's cells plus "" -> cells by Field
    demanded: tuple[Column, ...]  # columns whose cells may have to be filled
    birth_date_forms: tuple[DateForm, ...]
    longest_blank: int  # length of the longest word that says nothing is known

    def heading(self, field: Field, layout: Layout) -> str:
        """How the sender heads this field's column; the layout's word where there is none."""
        at = self.found.get(field)
        return layout.heading(field) if at is None else self.columns[at]


def read_header(layout: Layout, cells: Sequence[str], *, line: int = 1) -> HeaderReading:
    """Find the layout's columns among these headings; what is missing or doubled is an issue.

    `line` is the number of the header's line in its file, for the issues' places.
    """
    columns = _unique(cells)
    by_heading = {
        fold_heading(spelling): column
        for column in layout.columns.values()
        for spelling in (column.heading, *column.aliases)
    }
    carried = {fold_heading(heading) for heading in layout.carried}
    found: dict[Field, int] = {}
    unknown: list[str] = []
    issues: list[Issue] = []
    for at, heading in enumerate(columns):
        folded = fold_heading(cells[at])
        column = by_heading.get(folded)
        if column is None:
            if folded not in carried:
                unknown.append(heading)
        elif column.field in found:
            issues.append(_doubled(column, columns[found[column.field]], heading, line=line))
        else:
            found[column.field] = at
    if found:
        issues += _missing(layout, found, unknown, line=line)
    else:
        issues = [_not_a_header(layout, line=line)]
    blank = len(columns)  # rows are picked from with one empty cell added at their end
    return HeaderReading(
        columns=columns,
        found=found,
        unknown=tuple(unknown),
        issues=tuple(issues),
        pick=cast(
            "Callable[[Sequence[str]], tuple[str, ...]]",
            itemgetter(*(found.get(field, blank) for field in Field)),
        ),
        demanded=tuple(c for c in layout.columns.values() if c.filled != "if-known"),
        # A birth year of two digits could mean either century.
        birth_date_forms=tuple(form for form in layout.date_forms if form != "M/D/YY"),
        longest_blank=max(map(len, layout.blanks), default=0),
    )


def _unique(cells: Sequence[str]) -> tuple[str, ...]:
    columns: dict[str, None] = {}
    for number, cell in enumerate(cells, start=1):
        heading = " ".join(cell.replace("\ufeff", "").split()) or f"column {number}"
        if heading in columns:
            heading = f"{heading} ({number})"
        columns[heading] = None
    return tuple(columns)


def _missing(
    layout: Layout, found: dict[Field, int], unknown: list[str], *, line: int
) -> list[Issue]:
    return [
        Issue(
            place=f"row {line}, column {column.heading}",
            message=f"The column '{column.heading}' is missing.{_hint(column, unknown)}",
            code="required",
            rule="column-missing",
        )
        for field, column in layout.columns.items()
        if field not in found and (column.required or _tells_service(layout, field, found))
    ]


def _tells_service(layout: Layout, field: Field, found: dict[Field, int]) -> bool:
    """Whether this column is missed because no other one of the file tells the service."""
    return (
        field is (Field.SERVICE if Field.SERVICE in layout.columns else Field.HCPCS)
        and not layout.fixed_service
        and Field.HCPCS not in found
    )


def _hint(column: Column, unknown: list[str]) -> str:
    folded = {fold_heading(heading): heading for heading in unknown}
    near = get_close_matches(fold_heading(column.heading), folded, n=1, cutoff=0.8)
    return f" Is '{folded[near[0]]}' meant? Then give the layout that alias." if near else ""


def _doubled(column: Column, first: str, second: str, *, line: int) -> Issue:
    return Issue(
        place=f"row {line}, column {second}",
        message=f"Two columns, '{first}' and '{second}', both mean '{column.heading}'.",
        code="duplicate",
        rule="column-twice",
        value=second,
    )


def _not_a_header(layout: Layout, *, line: int) -> Issue:
    return Issue(
        place=f"row {line}",
        message=f"No heading of this line is known to the layout '{layout.name}': "
        "the headings must stand in the file's first line.",
        code="structure",
        rule="header-not-found",
    )
