"""A referrer notice as a file of one row, for partners who are told through a drop folder."""

from __future__ import annotations

import csv
import io

from fhir_hub_bridge.mapping.notice_to_fhir import NoticeContent, sentence

COLUMNS = (
    "notice_id",
    "notice_type",
    "referral_id",
    "clr_id",
    "referral_status",
    "referral_status_date",
    "authorization_status",
    "authorization_reason",
    "assigned_provider",
    "closure_reason",
    "closure_date",
    "message",
)


def notice_file(content: NoticeContent) -> bytes:
    """Header and one row, UTF-8, CRLF (RFC 4180); the same facts as the FHIR message."""
    view, report = content.view, content.report
    values = (
        content.id,
        content.type.value,
        view.identifiers[0].value if view.identifiers else "",
        view.clr_id,
        (report.status if report else view.status) or "",
        report.on.isoformat() if report else "",
        view.authorization_status,
        view.authorization_reason,
        view.provider.name if view.provider else "",
        view.closure_label,
        view.closed_on.isoformat() if view.closed_on else "",
        sentence(content),
    )
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerow(_harmless(str(value)) for value in values)
    return out.getvalue().encode()


def _harmless(text: str) -> str:
    """A cell that no spreadsheet takes for a formula (CWE-1236)."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") else text
