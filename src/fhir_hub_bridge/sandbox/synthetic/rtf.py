"""Providers' reports as rows of the hub's Return Transmission Files.

Rows are keyed by the headings of `rtf_files`; labels are the ones in use, not our codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from fhir_hub_bridge.sandbox.rtf_files import (
    CIN,
    CLOSURE_REASON,
    STATUS,
    STATUS_DATE,
    ServiceKind,
)
from fhir_hub_bridge.sandbox.synthetic.partners import PARTNERS
from fhir_hub_bridge.sandbox.synthetic.people import Member, members
from fhir_hub_bridge.sandbox.synthetic.services import SERVICES
from fhir_hub_bridge.sandbox.synthetic.story import CastEntry, Report

Row = dict[str, str]

STATUS_LABELS = {
    "pending": "Pending",
    "accepted": "Accepted",
    "declined": "Declined",
    "outreach-initiated": "Outreach Initiated",
    "loop-closed": "Referral Loop Closed",
}
REASON_LABELS = {
    "services-received": "Services Received",
    "provider-declined": "Service Provider Declined",
    "unable-to-reach": "Unable to Reach Member",
    "no-longer-eligible": "Member No Longer Eligible for Services",
    "member-declined": "Member No Longer Needs Services or Declines Services",
    "other": "Other",
}
_ECM_STATUS = {
    "accepted": "Outreach",
    "declined": "Discontinued",
    "outreach-initiated": "Outreach",
    "loop-closed": "Enrolled",
}
_PLAN = PARTNERS["golden-plan"]


def rtf_rows(
    entries: Sequence[CastEntry], *, round_: int, produced_on: date
) -> dict[ServiceKind, list[Row]]:
    """The rows of one round's two files, by kind of file."""
    rows: dict[ServiceKind, list[Row]] = {"ecm": [], "cs": []}
    for entry in entries:
        for report in entry.reports_in(round_):
            kind, row = rtf_row(entry, report, produced_on=produced_on)
            rows[kind].append(row)
    return rows


def rtf_row(entry: CastEntry, report: Report, *, produced_on: date) -> tuple[ServiceKind, Row]:
    """One report as a row, and the kind of file it belongs in."""
    row = _member_cells(entry.member, produced_on=produced_on) | {
        STATUS: STATUS_LABELS[report.status],
        STATUS_DATE: _us(report.on),
        CLOSURE_REASON: REASON_LABELS.get(report.reason, ""),
    }
    if entry.service == "ecm":
        row |= {"Member ECM Status": _ecm_status(report), **_provider_cells("ECM", report.provider)}
        if report.reason == "services-received":
            row["ECM Enrollment Start Date"] = _us(report.on)
        if report.text:
            row["Discontinuation Reason"] = report.text
        return "ecm", row
    return "cs", row | {
        **_service_cells(entry.service),
        **_provider_cells("CS", report.provider),
        "Referral Loop Closure Comment": report.text,
    }


def stray_rows(seed: int = 1, *, today: date) -> list[tuple[str, Row]]:
    """Rows of ECM members whom nobody referred, each with what must become of it.

    `kept`: no word on a referral. `review`: a status without a referral. `rejected`: a status
    word that nobody knows, and a loop closed without a reason.
    """
    # Another seed than the cast's, so that nobody is in both.
    people = members(seed + 1_000_000, count=4, today=today)
    shared = {**_provider_cells("ECM", "harbor-ecm"), "Member ECM Status": "Enrolled"}
    loop = (
        ("kept", "", ""),
        ("review", "Accepted", ""),
        ("rejected", "Sort of accepted", ""),
        ("rejected", "Referral Loop Closed", ""),
    )
    return [
        (
            fate,
            {
                **_member_cells(replace(person, is_homeless=False), produced_on=today),
                **shared,
                STATUS: status,
                STATUS_DATE: _us(today) if status else "",
                CLOSURE_REASON: reason,
            },
        )
        for person, (fate, status, reason) in zip(people, loop, strict=True)
    ]


def _member_cells(member: Member, *, produced_on: date) -> Row:
    return {
        "Primary Payer (MCP) Identifier": _PLAN.plan_code,
        "MCP Name": _PLAN.name,
        CIN: member.cin,
        "Member Last Name": member.family,
        "Member First Name": member.given,
        "Member Homelessness Indicator": "Y" if member.is_homeless else "N",
        "Member Residential Address": member.street,
        "Member Residential City": member.city,
        "Member Residential State": member.state,
        "Member Residential Zip": member.postal_code,
        "Member Phone Number": member.phone,
        "Member Information Return Transmission File Production Date": _us(produced_on),
        "Member Information File Reporting Period": f"{produced_on:%Y-%m}",
    }


def _provider_cells(prefix: str, provider: str) -> Row:
    partner = PARTNERS[provider]
    return {
        f"{prefix} Provider Name": partner.name,
        f"{prefix} Provider National Provider Identifier (NPI)": partner.npi,
        f"{prefix} Provider Tax ID Number (TIN)": partner.tin,
        f"{prefix} Provider Phone Number": partner.phone,
    }


def _service_cells(service: str) -> Row:
    known = SERVICES[service]
    return {
        "Community Supports Service": known.label,
        "HCPCS Code": known.hcpcs,
        "Modifiers": known.modifiers,
    }


def _ecm_status(report: Report) -> str:
    if report.status == "loop-closed" and report.reason != "services-received":
        return "Discontinued"
    return _ECM_STATUS.get(report.status, "")


def _us(day: date) -> str:
    return f"{day:%m/%d/%Y}"
