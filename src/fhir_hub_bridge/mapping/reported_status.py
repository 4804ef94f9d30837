"""The three closed-loop elements of a row: referral status, its date, the reason for closure.

They stand or fall together: no status without a date, no closure without a reason, no reason
without closure. Cells come with their white space tidied, so only case is folded here.
Source: DHCS closed-loop referral guidance, tracking data. After: `row_to_referral`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from fhir_hub_bridge.mapping.catalog import Catalog
from fhir_hub_bridge.mapping.cell_values import Fault
from fhir_hub_bridge.mapping.layout import Field
from fhir_hub_bridge.mapping.row_cells import RowCells
from fhir_hub_bridge.referral.model import Party, ReferralStatus, Report

# Between a known reason and the sender's own words: "Other: moved in with family".
_OWN_WORDS = re.compile(r"\s*[:;]\s*|\s+[-\u2013\u2014]+\s+")

_UNKNOWN_STATUS = Fault(
    "status-unknown", "The layout knows no such referral status.", code="code-invalid"
)
_UNKNOWN_REASON = Fault(
    "reason-unknown", "The layout knows no such closure reason.", code="code-invalid"
)
_NO_STATUS = Fault(
    "date-without-status", "A date is given, but no referral status.", code="required"
)
_NO_DATE = Fault(
    "status-without-date", "A referral status needs the date of its update.", code="required"
)
_NO_REASON = Fault(
    "closed-without-reason", "A closed referral loop needs its reason.", code="required"
)
_NO_CLOSURE = Fault(
    "reason-without-closure",
    "A reason for closure is given, but the status does not say that the loop is closed.",
    code="business-rule",
)


@dataclass(frozen=True, slots=True)
class _Reason:
    """A closure reason: its code, how the sender spelled it, and what it added in its own words."""

    code: str = ""
    spelling: str = ""
    own_words: str = ""


def read_report(row: RowCells, provider: Party, *, today: date, catalog: Catalog) -> Report | None:
    """What is reported; None where all three elements are blank, or where one has a fault."""
    if not any(row.cells[at] for at in (Field.STATUS, Field.STATUS_ON, Field.REASON)):
        return None
    status, on = _status(row), _status_date(row, today=today)
    reason = _reason(row, status, catalog)
    if status is None or on is None:
        return None
    return Report(
        status=status,
        on=on,
        provider=provider,
        reason=reason.code,
        text=(row.cells[Field.REASON_TEXT] or reason.own_words) if reason.code else "",
        plan_code=_plan_code(reason, catalog),
    )


def _status(row: RowCells) -> ReferralStatus | None:
    cell = row.cells[Field.STATUS]
    if not cell:
        if row.cells[Field.STATUS_ON]:
            row.fault(Field.STATUS, _NO_STATUS)
        return None
    status = row.layout.statuses.get(cell.casefold())
    if status is None:
        row.fault(Field.STATUS, _UNKNOWN_STATUS)
    return status


def _status_date(row: RowCells, *, today: date) -> date | None:
    if row.cells[Field.STATUS_ON]:
        return row.past_date(Field.STATUS_ON, row.layout.date_forms, today=today)
    if row.cells[Field.STATUS]:
        row.fault(Field.STATUS_ON, _NO_DATE)
    return None


def _reason(row: RowCells, status: ReferralStatus | None, catalog: Catalog) -> _Reason:
    cell = row.cells[Field.REASON]
    reason = _known_reason(row, cell, catalog) if cell else _Reason()
    if reason is None:
        row.fault(Field.REASON, _UNKNOWN_REASON)
        return _Reason()
    if status is ReferralStatus.LOOP_CLOSED:
        if not reason.code:
            row.fault(Field.REASON, _NO_REASON)
    # Next to an unknown status nothing can be said of the reason: that status is the fault.
    elif reason.code and (status is not None or not row.cells[Field.STATUS]):
        row.fault(Field.REASON, _NO_CLOSURE)
    return reason


def _known_reason(row: RowCells, cell: str, catalog: Catalog) -> _Reason | None:
    reasons, rows = row.layout.reasons, catalog.rulebook.closure_reasons
    code = reasons.get(cell.casefold())
    if code is not None:
        return _Reason(code, cell, cell if code and rows[code].text_required else "")
    word, *own_words = _OWN_WORDS.split(cell, maxsplit=1)
    code = reasons.get(word.casefold(), "")
    if code and own_words and own_words[0] and rows[code].text_required:
        return _Reason(code, word, own_words[0])
    return None


def _plan_code(reason: _Reason, catalog: Catalog) -> str:
    """What the plan itself calls the reason, where that is not DHCS's own word."""
    if not reason.code:
        return ""
    label = catalog.rulebook.closure_reasons[reason.code].label
    return "" if label.casefold() == reason.spelling.casefold() else reason.spelling
