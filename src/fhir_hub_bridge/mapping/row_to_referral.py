"""One row of a hub's or plan's file becomes what it says of a referral, or the list of its faults.

All faults of a row are found, each with its cell; unknown words are faults and never defaults; no
referral date and no referrer is ever made up. Before: `header` and `connectors.tabular`; after:
`intake.import_file` finds the referral that the row speaks of.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from fhir_hub_bridge.errors import Issue
from fhir_hub_bridge.mapping.catalog import Catalog
from fhir_hub_bridge.mapping.cell_values import (
    Fault,
    read_billing_code,
    read_cin,
    read_npi,
    read_tin,
)
from fhir_hub_bridge.mapping.header import HeaderReading, read_header
from fhir_hub_bridge.mapping.layout import Field, Layout
from fhir_hub_bridge.mapping.reported_status import read_report
from fhir_hub_bridge.mapping.row_cells import RowCells, row_cells
from fhir_hub_bridge.referral.model import Member, Party, ReferralStatus, Report

__all__ = ["HeaderReading", "RowReading", "RowUpdate", "read_header", "read_row"]

WITHHELD = "[not repeated]"  # stands where a cell may hold a Social Security number

_YES = frozenset({"y", "yes", "1", "true", "x"})
_SHORT_ZIP = re.compile(r"\d{1,4}", re.ASCII)
_LONG_ZIP = re.compile(r"(\d{5})(\d{4})", re.ASCII)
_NOT_REPEATED = frozenset({"cin-nine-digits", "cin-scientific"})

_CIN_MISSING = Fault("cin-missing", "The member's CIN is missing.", code="required")
_PLAN_MISSING = Fault("plan-missing", "Neither plan code nor plan name is given.", code="required")
_SERVICE_MISSING = Fault("service-missing", "The row does not name a service.", code="required")
_SERVICE_UNKNOWN = Fault(
    "service-unknown", "The layout knows no such service.", code="code-invalid"
)
_SERVICE_UNCLEAR = Fault("service-unclear", "Several services are billed so; name the service too.")
_SERVICE_DISAGREES = Fault("service-disagrees", "The billing code belongs to another service.")
_HCPCS_UNKNOWN = Fault("hcpcs-unknown", "No service is billed with this code.", code="code-invalid")
_MODIFIER_UNKNOWN = Fault(
    "modifier-unknown",
    "This code means a service only together with one of its modifiers.",
    code="code-invalid",
)
_CELL_MISSING = Fault("cell-missing", "This cell must be filled here.", code="required")


@dataclass(frozen=True, slots=True)
class RowUpdate:
    """What a row says: for which plan, member, service and provider, and the status reported.

    `report` is None where all three closed-loop elements are blank. `flags` say what a person may
    want to look at although the row can be read.
    """

    line: int
    plan_code: str
    plan_name: str
    cin: str
    service: str
    provider: Party
    member: Member
    report: Report | None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RowReading:
    """A row read: its update, or its issues. `cells` are as sent, but for a possible SSN."""

    line: int
    update: RowUpdate | None
    issues: tuple[Issue, ...]
    cells: Sequence[str]


def read_row(
    layout: Layout,
    header: HeaderReading,
    cells: Sequence[str],
    *,
    line: int,
    today: date,
    catalog: Catalog,
) -> RowReading:
    """Read one row. `line` is its line in the file, `today` the date in the program's zone.

    1. It must have one cell for each heading. 2. Plan, CIN, service, provider and member are read.
    3. Status, date and reason are read together. 4. With any fault there is no update, but every
    issue of the row; issues carry no cell content but in `value`.
    """
    if len(cells) != len(header.columns):
        return RowReading(line, None, (_wrong_width(header, cells, line=line),), tuple(cells))
    row = row_cells(layout, header, cells, line=line)
    cin = _cin(row)
    plan_code, plan_name = _plan(row)
    service = _service(row, catalog)
    provider = _provider(row)
    member = _member(row, cin, today=today)
    report = read_report(row, provider, today=today, catalog=catalog)
    _check_filled(row)
    if row.issues:
        return RowReading(line, None, tuple(row.issues), _safe_to_keep(row, cells))
    update = RowUpdate(
        line=line,
        plan_code=plan_code,
        plan_name=plan_name,
        cin=cin,
        service=service,
        provider=provider,
        member=member,
        report=report,
        flags=tuple(row.flags),
    )
    return RowReading(line, update, (), cells)


def _wrong_width(header: HeaderReading, cells: Sequence[str], *, line: int) -> Issue:
    return Issue(
        place=f"row {line}",
        message=f"The row has {len(cells)} cells, the header has {len(header.columns)}.",
        code="structure",
        rule="row-width",
    )


def _cin(row: RowCells) -> str:
    text = row.cells[Field.CIN]
    read = read_cin(text) if text else _CIN_MISSING
    if isinstance(read, Fault):
        row.fault(Field.CIN, read)
        return ""
    cin, flag = read
    if flag:
        row.flags.append(flag)
    return cin


def _plan(row: RowCells) -> tuple[str, str]:
    code, name = row.cells[Field.PLAN_CODE], row.cells[Field.PLAN_NAME]
    if not code and not name:
        row.fault(Field.PLAN_CODE, _PLAN_MISSING)
    return code, name


def _service(row: RowCells, catalog: Catalog) -> str:
    """The service: fixed by the layout, or named by label, by billing code, or by both alike."""
    if row.layout.fixed_service:
        return row.layout.fixed_service
    label, code = row.cells[Field.SERVICE], row.cells[Field.HCPCS]
    if not label and not code:
        row.fault(Field.SERVICE, _SERVICE_MISSING)
        return ""
    by_code = _services_billed(row, code, catalog) if code else frozenset()
    if not label:
        if len(by_code) > 1:
            row.fault(Field.HCPCS, _SERVICE_UNCLEAR)
        return next(iter(by_code), "")
    by_label = row.layout.services.get(label.casefold(), "")
    if not by_label:
        row.fault(Field.SERVICE, _SERVICE_UNKNOWN)
    elif by_code and by_label not in by_code:
        row.fault(Field.HCPCS, _SERVICE_DISAGREES)
    return by_label


def _services_billed(row: RowCells, code: str, catalog: Catalog) -> frozenset[str]:
    billing = read_billing_code(code, row.cells[Field.MODIFIERS])
    modifiers_at = Field.MODIFIERS if row.cells[Field.MODIFIERS] else Field.HCPCS
    if isinstance(billing, Fault):
        row.fault(modifiers_at if billing.rule == "modifier-form" else Field.HCPCS, billing)
        return frozenset()
    services = catalog.services_billed_as(billing)
    if not services:
        if catalog.is_billing_code(billing.hcpcs):
            row.fault(modifiers_at, _MODIFIER_UNKNOWN)
        else:
            row.fault(Field.HCPCS, _HCPCS_UNKNOWN)
    return services


def _provider(row: RowCells) -> Party:
    npi = tin = ""
    if text := row.cells[Field.PROVIDER_NPI]:
        number = read_npi(text)
        if isinstance(number, Fault):
            row.fault(Field.PROVIDER_NPI, number)
        else:
            npi = number
    if text := row.cells[Field.PROVIDER_TIN]:
        number = read_tin(text)
        if not isinstance(number, Fault):
            tin = number
            row.flags += [] if tin else ["tin-placeholder"]
        elif npi:
            row.flags.append("tin-unreadable")  # the NPI names the provider well enough
        else:
            row.fault(Field.PROVIDER_TIN, number)
    if not npi:
        row.flags.append("provider-without-npi" if tin else "provider-not-identified")
    return Party(name=row.cells[Field.PROVIDER_NAME], npi=npi, tin=tin)


def _member(row: RowCells, cin: str, *, today: date) -> Member:
    cells = row.cells
    birth_date = None
    if cells[Field.BIRTH_DATE]:
        birth_date = row.past_date(Field.BIRTH_DATE, row.header.birth_date_forms, today=today)
    state, postal_code = cells[Field.STATE], cells[Field.POSTAL_CODE]
    if cells[Field.NEW_ADDRESS].casefold() in _YES:
        row.flags.append("new-address")
    if cells[Field.NEW_PHONE].casefold() in _YES:
        row.flags.append("new-phone")
    if _SHORT_ZIP.fullmatch(postal_code):
        row.flags.append("postal-code-short")
    long_zip = _LONG_ZIP.fullmatch(postal_code)
    return Member(
        cin=cin,
        family=cells[Field.FAMILY],
        given=cells[Field.GIVEN],
        birth_date=birth_date,
        phone=cells[Field.PHONE],
        address_line=cells[Field.ADDRESS_LINE],
        city=cells[Field.CITY],
        state=state.upper() if len(state) == 2 else state,
        postal_code=f"{long_zip[1]}-{long_zip[2]}" if long_zip else postal_code,
    )


def _check_filled(row: RowCells) -> None:
    """Cells that the layout wants filled, unless something is already said of them."""
    for column in row.header.demanded:
        if row.cells[column.field] or not _is_demanded(column.filled, row):
            continue
        place = row.place(column.field)
        if not any(issue.place == place for issue in row.issues):
            row.fault(column.field, _CELL_MISSING)


def _is_demanded(filled: str, row: RowCells) -> bool:
    if filled == "always":
        return True
    status = row.cells[Field.STATUS]
    if filled == "with-status":
        return bool(status)
    return row.layout.statuses.get(status.casefold()) is ReferralStatus.LOOP_CLOSED


def _safe_to_keep(row: RowCells, cells: Sequence[str]) -> tuple[str, ...]:
    """The row as sent, its CIN cell withheld where that may be a Social Security number."""
    at = row.header.found.get(Field.CIN)
    if at is None or not any(issue.rule in _NOT_REPEATED for issue in row.issues):
        return tuple(cells)
    return tuple(WITHHELD if place == at else cell for place, cell in enumerate(cells))
