"""A provider with a server or folder of its own is sent its copy: bytes frozen at commit.

A copy is a row of the outbox and no notice: no rule of notices speaks of it, the means of delivery
are the same (docs/decisions/0012). Before: `record_referral`. Beside: `notices_frozen`. After:
`delivery`; `relay` looks for what the provider then does with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from fhir_hub_bridge.connectors.spreadsheet_guard import table_bytes
from fhir_hub_bridge.fhir.codec import Json, to_bytes
from fhir_hub_bridge.fhir.task_states import TERMINAL
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.mapping.copy_to_fhir import CopyContent, copy_message
from fhir_hub_bridge.mapping.copy_to_row import COLUMNS, copy_row
from fhir_hub_bridge.mapping.referral_to_fhir import AssignmentIds, ResourceIds
from fhir_hub_bridge.mapping.sheet import Sheet
from fhir_hub_bridge.mapping.task_from_partner import what_it_says
from fhir_hub_bridge.referral.deadlines import due_at, local_date
from fhir_hub_bridge.referral.disclosure import view_of_provider
from fhir_hub_bridge.referral.model import Event, Party, Referral
from fhir_hub_bridge.referral.parties import Agreement, Partner, recognise, registered
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.notice_rows import COPY
from fhir_hub_bridge.store.remote_copies import RemoteCopy, remote_rows
from fhir_hub_bridge.store.rows import Batch
from fhir_hub_bridge.store.tables import notice
from fhir_hub_bridge.store.writes import Writes

_DUE_WITHIN = 1  # business day: a project default; after it a person looks


@dataclass(frozen=True, slots=True)
class Copying:
    """What copies are made of, as of one event."""

    referral: Referral
    event: Event
    ids: ResourceIds
    partners: Sequence[Partner]
    recording: Recording
    bucket: int


@dataclass(frozen=True, slots=True)
class CopyOwed:
    """One provider's copy that an event changed."""

    copies: AssignmentIds
    partner: Partner
    agreement: Agreement


def copies_owed(about: Copying, written: Collection[str]) -> list[CopyOwed]:
    """The copies that are to go out because these resources (`Type/id`) were written.

    None to a provider about what it said itself, to one whose agreement is not in force by the day
    it was learned, or whose server takes new resources only; none of what is told as history.
    """
    told = about.event.told
    today = local_date(told.learned_at, about.recording.rulebook.calendar)
    found: list[CopyOwed] = []
    for copies in about.ids.assignments if not told.history else ():
        own = {f"Task/{copies.task}", f"ServiceRequest/{copies.service_request}"}
        provider = about.referral.assignments[copies.number - 1].provider
        partner = registered(recognise(provider, about.partners).partner, about.partners)
        if not own.intersection(written) or partner is None or partner.agreement is None:
            continue
        said_so = any(p.is_same_as(partner.party) for p in (told.by, told.on_behalf_of))
        agreement = partner.agreement
        in_force = agreement.notify_from <= today
        if in_force and not said_so and agreement.single_requests != "post":
            found.append(CopyOwed(copies, partner, agreement))
    return found


def freeze_copy(
    owed: CopyOwed,
    about: Copying,
    *,
    lane: int,
    sheet: Sheet,
    patient: Json,
    is_there: bool,
    minted: Callable[[int], str],
    writes: Writes,
) -> None:
    """Put the row with its message on the writes.

    `is_there`: the provider was sent this Task before. Then it is left alone until it ends: it is
    the provider's to move, and may stand further there than here.
    """
    recording, copies = about.recording, owed.copies
    task = sheet.now(f"Task/{copies.task}")
    ended = task["status"] in TERMINAL
    content = CopyContent(
        id=minted(about.bucket),
        change=_change(is_there=is_there, ended=ended),
        view=view_of_provider(about.referral, copies.number, recording.rulebook),
        patient=patient,
        request=sheet.now(f"ServiceRequest/{copies.service_request}"),
        task=task,
        plan=_full(about.referral.plan, about.partners),
        provider=owed.partner.party,
        cin_systems=frozenset(p.cin_system for p in about.partners if p.cin_system),
        with_task=not is_there or ended,
    )
    body, media_type = _message(content, owed.agreement, base_url=recording.base_url)
    now = to_micros(recording.now)
    due = due_at(
        recording.now,
        within=_DUE_WITHIN,
        unit="business-days",
        calendar=recording.rulebook.calendar,
    )
    row = {
        "bucket": about.bucket,
        "id": content.id,
        "referral_id": about.referral.id,
        "lane": lane,
        "recipient": owed.partner.id,
        "type": COPY,
        "event_number": about.event.number,
        "state": "pending",
        "rule": "",
        "rulebook_row": "",
        "rulebook_version": recording.rulebook.version,
        "confidence": "project-default",
        "owed_at": now,
        "due_at": to_micros(due),
        "method": owed.agreement.method,
        "message": body,
        "media_type": media_type,
        "sha256": hashlib.sha256(body).hexdigest(),
        "communication_id": "",
        "attempts": 0,
        "next_attempt_at": now,
        "token": 0,
        "lease_until": 0,
        "escalated_at": None,
        "escalated_to": "",
        "escalated_why": "",
    }
    writes.add([Batch(notice, [row])])
    if not is_there:
        child = RemoteCopy(
            type="Task",
            id=copies.task,
            referral_id=about.referral.id,
            partner=owed.partner.id,
            kind="child",
            url="",
            seen=what_it_says(task),
        )
        writes.add([remote_rows([child], at=recording.now)])


def _change(*, is_there: bool, ended: bool) -> Literal["new", "changed", "ended"]:
    if ended:
        return "ended"
    return "changed" if is_there else "new"


def _full(party: Party, partners: Sequence[Partner]) -> Party:
    partner = registered(party.partner, partners)
    return partner.party if partner else party


def _message(content: CopyContent, agreement: Agreement, *, base_url: str) -> tuple[bytes, str]:
    if agreement.method == "file-drop":
        return table_bytes(COLUMNS, [copy_row(content)]), "text/csv"
    by_id = agreement.single_requests == "put"
    return to_bytes(copy_message(content, base_url=base_url, by_id=by_id)), "application/fhir+json"
