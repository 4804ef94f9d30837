"""Return Transmission Files as a community care hub writes them, warts included.

The ECM headings are one vendor's real ones with the three closed-loop elements at the end; no
official Community Supports headings are public, so those here are this hub's own.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Literal

ServiceKind = Literal["ecm", "cs"]

CIN = "Member Client Index Number (CIN)"
STATUS = "Referral Status"
STATUS_DATE = "Date of Referral Status Update"
CLOSURE_REASON = "Reason for Referral Loop Closure"

_MEMBER = (
    "Primary Payer (MCP) Identifier",
    "MCP Name",
    CIN,
    "Member Last Name",
    "Member First Name",
    "Member New Address Indicator",
    "Member Homelessness Indicator",
    "Member Residential Address",
    "Member Residential City",
    "Member Residential State",
    "Member Residential Zip",
    "Member New Phone Number Indicator",
    "Member Phone Number",
)
_FILE = (
    "Member Information Return Transmission File Production Date",
    "Member Information File Reporting Period",
)
_LOOP = (STATUS, STATUS_DATE, CLOSURE_REASON)

HEADINGS: dict[ServiceKind, tuple[str, ...]] = {
    "ecm": (
        *_MEMBER,
        "Member POF Indicator",
        "Member POF",
        "Member ECM Status",
        "Member Acuity Level",
        "ECM Enrollment Start Date",
        "ECM Enrollment End Date",
        "Date of Latest Care Plan Revision",
        "Date of Most Recent Care Conference",
        "Date Assessment Started",
        "Date of Most Recent Completed Assessment",
        "Date of Most Recent Encounter with Member",
        "ECM Lead Care Manager Name",
        "ECM Lead Care Manager Name Phone Number",
        "ECM Lead Care Manager Email",
        "Discontinuation Date",
        "Discontinuation Reason Code",
        "Discontinuation Reason",
        "In Person",
        "Telephonic/Video",
        *_FILE,
        "ECM Provider Name",
        "ECM Provider National Provider Identifier (NPI)",
        "ECM Provider Tax ID Number (TIN)",
        "ECM Provider Phone Number",
        *_LOOP,
    ),
    "cs": (
        *_MEMBER,
        "Community Supports Service",
        "HCPCS Code",
        "Modifiers",
        "Authorization Number",
        "Service Start Date",
        "Service End Date",
        *_FILE,
        "CS Provider Name",
        "CS Provider National Provider Identifier (NPI)",
        "CS Provider Tax ID Number (TIN)",
        "CS Provider Phone Number",
        *_LOOP,
        "Referral Loop Closure Comment",
    ),
}

WARTS = (
    "bom",
    "cp1252",
    "semicolon",
    "half-line",
    "title-row",
    "wrong-header",
    "lowercase-cin",
    "excel-dates",
)
_US_DATE = re.compile(r"\d{2}/\d{2}/\d{4}")
_EXCEL_DAY_ZERO = date(1899, 12, 30)


class RtfError(ValueError):
    """The file asked for cannot be written: unknown service, heading or wart."""


def rtf_bytes(
    service: str, rows: Sequence[Mapping[str, str]], *, warts: Sequence[str] = ()
) -> bytes:
    """The file's bytes: UTF-8 CSV with a header row, spoiled by the warts asked for.

    A row maps headings to text; headings it lacks are blank. Raises RtfError.
    """
    headings = _headings(service)
    _check(headings, rows=rows, warts=warts)
    table = [[row.get(heading, "") for heading in headings] for row in rows]
    if "lowercase-cin" in warts:
        at = headings.index(CIN)
        table = [[*cells[:at], cells[at].lower(), *cells[at + 1 :]] for cells in table]
    if "excel-dates" in warts:
        table = [[_excel_serial(cell) for cell in cells] for cells in table]
    shown = ["Member ID" if "wrong-header" in warts and h == CIN else h for h in headings]
    text = _csv([shown, *table], delimiter=";" if "semicolon" in warts else ",")
    if "title-row" in warts:
        text = f"Return Transmission File ({service.upper()}) - for trying things out\r\n{text}"
    if "half-line" in warts:
        text = _cut_last_line(text)
    if "cp1252" in warts:
        return text.encode("cp1252", errors="replace")
    return text.encode("utf-8-sig" if "bom" in warts else "utf-8")


def write_whole(path: Path, data: bytes) -> None:
    """Write the file under a temporary name, then rename: nobody ever sees half of it.

    Only its owner may read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.part")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _headings(service: str) -> tuple[str, ...]:
    match service:
        case "ecm" | "cs":
            return HEADINGS[service]
        case _:
            raise RtfError(f"service={service}: allowed are {', '.join(HEADINGS)}.")


def _check(
    headings: tuple[str, ...], *, rows: Sequence[Mapping[str, str]], warts: Sequence[str]
) -> None:
    for wart in warts:
        if wart not in WARTS:
            raise RtfError(f"wart '{wart}' is unknown; there are {', '.join(WARTS)}.")
    if "bom" in warts and "cp1252" in warts:
        raise RtfError("A file is UTF-8 with a byte order mark or cp1252, not both.")
    for heading in sorted({heading for row in rows for heading in row} - set(headings)):
        raise RtfError(f"The file has no column '{heading}'.")


def _csv(table: Sequence[Sequence[str]], *, delimiter: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(table)
    return out.getvalue()


def _excel_serial(cell: str) -> str:
    if not _US_DATE.fullmatch(cell):
        return cell
    day = datetime.strptime(cell, "%m/%d/%Y").date()  # noqa: DTZ007 - a date has no zone
    return str((day - _EXCEL_DAY_ZERO).days)


def _cut_last_line(text: str) -> str:
    start = text.rstrip("\r\n").rfind("\n") + 1
    return text[: start + len(text[start:].rstrip()) // 2]
