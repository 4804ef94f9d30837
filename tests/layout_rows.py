"""Rows of made-up files for tests: a good row of each shipped layout, and a row read by it."""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path

from fhir_hub_bridge.mapping.catalog import Catalog, load_catalog
from fhir_hub_bridge.mapping.row_to_referral import RowReading, RowUpdate, read_header, read_row

MAPPINGS = Path(__file__).parents[1] / "mappings"
TODAY = date(2026, 11, 21)

GOOD = {
    "Primary Payer (MCP) Identifier": "MCP000",
    "MCP Name": "Example Health Plan",
    "Member Client Index Number (CIN)": "91234567A",
    "Member Last Name": "Madeup",
    "Member First Name": "Marta",
    "Referral Status": "Accepted",
    "Date of Referral Status Update": "11/02/2026",
    "Reason for Referral Loop Closure": "",
}
ECM_PROVIDER = {
    "ECM Provider Name": "Example Care",
    "ECM Provider National Provider Identifier (NPI)": "1234567893",
    "ECM Provider Tax ID Number (TIN)": "12-3456789",
}
CS_PROVIDER = {
    "CS Provider Name": "Example Housing",
    "CS Provider National Provider Identifier (NPI)": "1234567893",
}


@cache
def shipped_catalog() -> Catalog:
    """The catalog as shipped, read once."""
    return load_catalog(MAPPINGS)


def read_ecm(**cells: str) -> RowReading:
    """One row of the ECM file, some cells of which differ from the good one."""
    return read_cells("rtf-ecm", {**GOOD, **ECM_PROVIDER, **_by_heading(cells)})


def read_cs(**cells: str) -> RowReading:
    """One row of the Community Supports file; it names no service unless told to."""
    return read_cells("rtf-cs", {**GOOD, **CS_PROVIDER, **_by_heading(cells)})


def read_cells(layout_name: str, cells: dict[str, str]) -> RowReading:
    """These cells under these headings, read as line 7."""
    layout = shipped_catalog().layout(layout_name)
    header = read_header(layout, list(cells))
    assert header.issues == ()
    return read_row(
        layout, header, list(cells.values()), line=7, today=TODAY, catalog=shipped_catalog()
    )


def the_update(reading: RowReading) -> RowUpdate:
    """The update of a row that must have no issue."""
    assert reading.issues == ()
    assert reading.update is not None
    return reading.update


def the_faults(reading: RowReading) -> list[tuple[str, str]]:
    """Column and rule of each issue of a row that must have one."""
    assert reading.update is None
    assert reading.issues
    assert all(issue.place.startswith(f"row {reading.line}") for issue in reading.issues)
    return [
        (issue.place.removeprefix(f"row {reading.line}, column "), issue.rule)
        for issue in reading.issues
    ]


_SHORT = {
    "plan_code": "Primary Payer (MCP) Identifier",
    "plan_name": "MCP Name",
    "cin": "Member Client Index Number (CIN)",
    "family": "Member Last Name",
    "birth_date": "Member Date of Birth",
    "phone": "Member Phone Number",
    "new_phone": "Member New Phone Number Indicator",
    "new_address": "Member New Address Indicator",
    "address": "Member Residential Address",
    "state": "Member Residential State",
    "zip_code": "Member Residential Zip",
    "npi": "ECM Provider National Provider Identifier (NPI)",
    "tin": "ECM Provider Tax ID Number (TIN)",
    "service": "Community Supports Service",
    "hcpcs": "HCPCS Code",
    "modifiers": "Modifier",
    "status": "Referral Status",
    "status_on": "Date of Referral Status Update",
    "reason": "Reason for Referral Loop Closure",
    "reason_text": "Referral Loop Closure Comment",
}


def _by_heading(cells: dict[str, str]) -> dict[str, str]:
    return {_SHORT[name]: cell for name, cell in cells.items()}
