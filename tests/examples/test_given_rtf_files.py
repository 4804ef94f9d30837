"""The made-up ECM files that lie beside the repository: read where they are, never copied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.layout_rows import TODAY, shipped_catalog

from fhir_hub_bridge.connectors.tabular import open_table
from fhir_hub_bridge.mapping.row_to_referral import RowReading, read_header, read_row

GIVEN = Path(__file__).parents[3] / "shared" / "data" / "synthetic"
CIN = "Member Client Index Number (CIN)"
NPI = "ECM Provider National Provider Identifier (NPI)"
STATUS = "Referral Status"
ON = "Date of Referral Status Update"

# Line, column and rule of each fault that was built into the messy file.
FAULTS = [
    (4, STATUS, "status-unknown"),  # "Decline"
    (5, CIN, "cin-missing"),
    (7, NPI, "npi-check-digit"),
    (8, NPI, "npi-scientific"),
    (10, ON, "status-without-date"),
    (12, CIN, "cin-missing"),
    (12, STATUS, "status-unknown"),
    (14, ON, "date-in-future"),
    (15, NPI, "npi-check-digit"),
    (16, NPI, "npi-scientific"),
    (19, CIN, "cin-missing"),
    (19, ON, "status-without-date"),
    (20, STATUS, "status-unknown"),
    (20, ON, "date-in-future"),
    (23, NPI, "npi-check-digit"),
    (24, NPI, "npi-scientific"),
]


def readings(name: str) -> Iterator[RowReading]:
    path = GIVEN / name
    if not path.exists():
        pytest.skip("SKIPPED LOUDLY: ../shared/data not found")
    layout = shipped_catalog().layout("rtf-ecm")
    table = open_table(path)
    header = read_header(layout, table.header)
    assert (header.issues, header.unknown) == ((), ())
    for row in table.rows():
        yield read_row(
            layout, header, row.cells, line=row.line, today=TODAY, catalog=shipped_catalog()
        )


def test_every_row_of_the_clean_file_is_good() -> None:
    read = list(readings("ecm_rtf_clean_synthetic.csv"))

    assert [reading.issues for reading in read] == [()] * 12
    assert all(reading.update and reading.update.report for reading in read)


def test_each_fault_of_the_messy_file_is_named_with_its_cell() -> None:
    found = [
        (reading.line, issue.place.partition(", column ")[2], issue.rule)
        for reading in readings("ecm_rtf_messy_synthetic.csv")
        for issue in reading.issues
    ]

    assert found == FAULTS


def test_the_other_rows_of_the_messy_file_are_read() -> None:
    faulty = {line for line, _, _ in FAULTS}

    read = {reading.line for reading in readings("ecm_rtf_messy_synthetic.csv") if reading.update}

    assert read == set(range(2, 26)) - faulty
