"""A referrer notice as one row of a table, for partners who are told through a drop folder."""

from __future__ import annotations

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


def notice_row(content: NoticeContent) -> tuple[str, ...]:
    """The cells under COLUMNS; the same facts as the FHIR message."""
    view, report = content.view, content.report
    return (
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
