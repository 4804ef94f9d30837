"""Golden pairs: each example file of a layout beside what its rows must be read as.

A new layout needs no code here: put `<layout>/<name>.csv` and `<layout>/<name>.json` beside the
others. All persons are made up.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.layout_rows import TODAY, shipped_catalog

from fhir_hub_bridge.connectors.tabular import open_table
from fhir_hub_bridge.errors import Issue
from fhir_hub_bridge.mapping.row_to_referral import RowReading, read_header, read_row

HERE = Path(__file__).parent
FILES = sorted(
    path for layout in shipped_catalog().layouts for path in (HERE / layout).glob("*.csv")
)


def read_file(path: Path, layout_name: str) -> dict[str, Any]:
    """What a file is read as, in a form that can be kept beside it."""
    layout = shipped_catalog().layout(layout_name)
    table = open_table(path, encodings=layout.encodings, delimiters=layout.delimiters)
    header = read_header(layout, table.header, line=table.header_line)
    assert header.issues == ()
    rows = []
    for row in table.rows():
        if row.issues:
            rows.append({"line": row.line, "issues": [_issue(issue) for issue in row.issues]})
        else:
            reading = read_row(
                layout, header, row.cells, line=row.line, today=TODAY, catalog=shipped_catalog()
            )
            rows.append(_reading(reading))
    dialect = {"encoding": table.dialect.encoding, "delimiter": table.dialect.delimiter}
    return {**dialect, "unknown_columns": list(header.unknown), "rows": rows}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_example_file_is_read_as_written_beside_it(path: Path) -> None:
    expected = json.loads(path.with_suffix(".json").read_text())

    assert read_file(path, path.parent.name) == expected


def test_every_shipped_layout_has_a_golden_pair() -> None:
    assert {path.parent.name for path in FILES} == set(shipped_catalog().layouts)


def _reading(reading: RowReading) -> dict[str, Any]:
    if reading.update is None:
        return {"line": reading.line, "issues": [_issue(issue) for issue in reading.issues]}
    update = json.loads(json.dumps(asdict(reading.update), default=str))
    return {key: _without_blanks(value) for key, value in update.items()}


def _without_blanks(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_blanks(said) for key, said in value.items() if said not in ("", None)}


def _issue(issue: Issue) -> dict[str, str]:
    return {"place": issue.place, "rule": issue.rule, "value": issue.value}
