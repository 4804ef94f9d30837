"""A notice owed becomes a row with its message: bytes frozen at commit, the same on every try."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from fhir_hub_bridge.connectors.spreadsheet_guard import table_bytes
from fhir_hub_bridge.fhir.codec import to_bytes
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.mapping.notice_to_fhir import (
    NoticeContent,
    communication,
    communication_request,
    message,
)
from fhir_hub_bridge.mapping.notice_to_row import COLUMNS, notice_row
from fhir_hub_bridge.mapping.referral_to_fhir import ResourceIds
from fhir_hub_bridge.mapping.sheet import Sheet
from fhir_hub_bridge.referral.disclosure import view_of_referring_entity, view_of_report
from fhir_hub_bridge.referral.model import Event, Referral, Report
from fhir_hub_bridge.referral.notices import NoticeOwed
from fhir_hub_bridge.referral.parties import Agreement
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.referrals import party_key
from fhir_hub_bridge.store.rows import Batch
from fhir_hub_bridge.store.tables import notice
from fhir_hub_bridge.store.writes import Writes


@dataclass(frozen=True, slots=True)
class Freezing:
    """What a notice is about, as of its event."""

    referral: Referral
    event: Event
    ids: ResourceIds
    agreement: Agreement | None
    recording: Recording
    bucket: int


def freeze(
    owed: NoticeOwed,
    about: Freezing,
    *,
    lane: int,
    sheet: Sheet,
    minted: Callable[[int], str],
    writes: Writes,
) -> None:
    """Put the duty and the record on the sheet, the row with its message on the writes.

    `lane` is the notice's place among the referral's: they go out in this order.
    """
    recording, agreement = about.recording, about.agreement
    task = f"Task/{about.ids.task}"
    content = NoticeContent(
        id=minted(about.bucket),
        type=owed.type,
        view=view_of_referring_entity(about.referral, recording.rulebook),
        task=f"{task}/_history/{sheet.version(task)}",
        service_request=f"ServiceRequest/{about.ids.service_request}",
        sender=about.referral.plan,
        recipient=owed.recipient,
        report=view_of_report(about.event.act) if isinstance(about.event.act, Report) else None,
        task_status=str(sheet.now(task)["status"]),
    )
    request_id, communication_id = minted(about.bucket), minted(about.bucket)
    sheet.put(communication_request(content, owed, id_=request_id))
    sheet.put(communication(content, owed, id_=communication_id, request=request_id))
    body, media_type = _message(content, owed, about)
    now = to_micros(recording.now)
    row = {
        "bucket": about.bucket,
        "id": content.id,
        "referral_id": about.referral.id,
        "lane": lane,
        "recipient": party_key(owed.recipient),
        "type": owed.type.value,
        "event_number": owed.event_number,
        "state": owed.state,
        "rule": owed.rule,
        "rulebook_row": owed.because.id,
        "rulebook_version": recording.rulebook.version,
        "confidence": owed.because.citation.confidence,
        "owed_at": to_micros(owed.owed_at),
        "due_at": to_micros(owed.due_at),
        "method": agreement.method if agreement else "",
        "message": body,
        "media_type": media_type,
        "sha256": hashlib.sha256(body).hexdigest(),
        "communication_id": communication_id,
        "attempts": 0,
        "next_attempt_at": now,
        "token": 0,
        "lease_until": 0,
        "escalated_at": now if owed.escalate else None,
        "escalated_to": recording.escalation_owner if owed.escalate else "",
        "escalated_why": owed.rule if owed.escalate else "",
    }
    writes.add([Batch(notice, [row])])


def _message(content: NoticeContent, owed: NoticeOwed, about: Freezing) -> tuple[bytes, str]:
    agreement = about.agreement
    if agreement is not None and agreement.method == "file-drop":
        return table_bytes(COLUMNS, [notice_row(content)]), "text/csv"
    bundle = message(
        content,
        owed,
        base_url=about.recording.base_url,
        with_task=agreement is not None and agreement.task_view,
    )
    return to_bytes(bundle), "application/fhir+json"
