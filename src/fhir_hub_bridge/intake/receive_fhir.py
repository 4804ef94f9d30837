"""IN by FHIR: what a client posts or puts becomes stored resources and recorded referrals.

One request is one transaction, all or nothing. A Task that asks for fulfilment opens a referral
when it is created, or once an update names a party known here;
a change of a tracked Task is what its sender tells about it; both go through `record_referral`.
Anything else is stored as sent. The same request again gets the first answer and stores nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from fhir_hub_bridge.connectors.fhir_reader import FhirReader
from fhir_hub_bridge.errors import AlreadyAnswered, RuleBroken, Unknown
from fhir_hub_bridge.fhir.bundle import Entry, EntryResponse, transaction_response
from fhir_hub_bridge.fhir.codec import to_bytes
from fhir_hub_bridge.fhir.dates import format_instant
from fhir_hub_bridge.intake.fhir_request import (
    Answered,
    Asked,
    buckets_of_entries,
    read_entries,
    with_ids,
)
from fhir_hub_bridge.intake.fhir_work import FhirWork, check_version, cin_systems
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.intake.referral_fetched import NONE_FETCHED, Originals, fetch_originals
from fhir_hub_bridge.intake.request_amended import amend_referral
from fhir_hub_bridge.intake.task_changed import change_task
from fhir_hub_bridge.intake.task_posted import (
    answered_before,
    open_referral,
    opens_referral,
    referral_keys,
)
from fhir_hub_bridge.referral.model import Party
from fhir_hub_bridge.referral.parties import Partner, registered
from fhir_hub_bridge.store.partners import all_partners
from fhir_hub_bridge.store.remote_copies import RemoteCopy, remote_rows
from fhir_hub_bridge.store.repeats import FirstAnswer, first_answer, remember
from fhir_hub_bridge.store.resources import NewVersion, Stored, batches_of, read, unstamped
from fhir_hub_bridge.store.transaction import Store
from fhir_hub_bridge.store.unit import Connection

__all__ = ["Answered", "Asked", "receive"]


async def receive(
    asked: Asked,
    *,
    store: Store,
    recording: Recording,
    reader: Callable[[], FhirReader] | None = None,
) -> Answered:
    """Store what a client asks for and answer it, or refuse it whole.

    With a `reader` a new Task's focus may be on the server of the partner that sends it.

    Raises ResourceRejected (400, 422), RuleBroken (422), VersionConflict (412), Conflict (409),
    Unknown (404), StoreBusy (503); then nothing is stored.
    """
    entries = read_entries(asked, base_url=recording.base_url)
    originals = NONE_FETCHED
    if reader is not None:
        originals = await fetch_originals(
            asked,
            entries,
            store=store,
            reader=reader,
            base_url=recording.base_url,
            now=recording.now,
        )
        asked = replace(asked, caller=asked.caller or originals.partner)
    try:
        return await store.write(receive_unit, asked, entries, recording, originals)
    except AlreadyAnswered:  # the same request was stored meanwhile by another worker
        return await store.write(receive_unit, asked, entries, recording, originals)


def receive_unit(
    conn: Connection,
    asked: Asked,
    entries: Sequence[Entry],
    recording: Recording,
    originals: Originals = NONE_FETCHED,
) -> Answered:
    """The unit. 1. Same body before?  2. Ids.  3. Same referral, or same key, before?
    4. Each Task.  5. The rest as sent, or as an amendment.  6. Answer."""
    now = recording.now
    before = first_answer(conn, asked.body_keys(entries), now=now)
    if before is not None:
        return Answered(before.status, before.body, before.headers)
    partners = all_partners(conn)
    work = FhirWork(conn, asked, recording, partners, _caller(asked, partners, recording))
    asked_for = len(entries)
    entries = (*entries, *originals.entries)
    buckets = buckets_of_entries(
        entries,
        cin_systems=cin_systems(partners),
        stored=work.resource,
        otherwise=recording.seed.hex(),
    )
    entries = with_ids(entries, next_id=recording.minter("entries"), buckets=buckets)
    new = (entry for entry in entries if entry.method == "POST")
    work.sent = {f"{e.type}/{e.id}": e.resource for e in new if e.resource}
    opening = [entry for entry in entries if opens_referral(work, entry)]
    opening_at = {entry.index for entry in opening}
    names = referral_keys(work, opening)
    # the key of the request counts only where its referrals have no names of their own
    keys = [] if names and all(names) else asked.client_keys()
    before = answered_before(work, opening, names) or first_answer(conn, keys, now=now)
    if before is not None:
        return Answered(before.status, before.body, before.headers)
    tasks = [entry for entry in entries if entry.type == "Task" and entry.resource is not None]
    for entry in tasks:
        # the next Task may be of the same member or referral: it must find what this one wrote
        work.writes.flush(conn)
        if entry.index in opening_at:
            open_referral(work, entry, stored=_before(work, entry), only=len(tasks) == 1)
        elif entry.method == "PUT":
            _take_update(work, entry, only=len(tasks) == 1)
    for entry in entries:
        if f"{entry.type}/{entry.id}" not in work.versions:
            _take_as_sent(work, entry)
    _note_originals(work, originals, entries[asked_for:])
    work.writes.flush(conn)
    answered = _answer(work, entries[:asked_for])
    first = FirstAnswer(answered.status, answered.headers, answered.body)
    own = [key for one in names for key in one]
    remember(conn, [*asked.body_keys(entries), *keys, *own], first, now=now)
    return answered


def _note_originals(work: FhirWork, originals: Originals, entries: Sequence[Entry]) -> None:
    """Where the originals of a referral's copies are, so that these can be kept current."""
    copies = [
        RemoteCopy(
            type=entry.type,
            id=str(entry.id),
            referral_id=work.referral_of[f"{entry.type}/{entry.id}"],
            partner=originals.partner,
            kind="original",
            url=str(entry.full_url),
            seen=fetched.resource or {},
        )
        for entry, fetched in zip(entries, originals.entries, strict=True)
        if f"{entry.type}/{entry.id}" in work.referral_of
    ]
    work.writes.add([remote_rows(copies, at=work.recording.now)])


def _take_update(work: FhirWork, entry: Entry, *, only: bool) -> None:
    """Record what an update of a tracked Task says; others are stored as sent later on."""
    assert entry.resource is not None  # noqa: S101  # the caller filtered
    stored = work.stored(f"Task/{entry.id}")
    if stored is None:
        raise Unknown("There is no Task with this id.")
    if stored.referral_id:
        change_task(work, entry, entry.resource, stored, only=only)


def _take_as_sent(work: FhirWork, entry: Entry) -> None:
    assert entry.resource is not None  # noqa: S101  # read_entries refuses entries without
    stored = _before(work, entry)
    if stored is not None and stored.referral_id:
        work.writes.flush(work.conn)  # it must find what the entries before it wrote
        if amend_referral(work, entry, stored):
            return
    version = stored.version + 1 if stored else 1
    new = NewVersion(
        unstamped(entry.resource),
        version,
        work.recording.now,
        stored.source if stored else str(work.caller.partner or ""),
        stored.referral_id if stored else "",
        entry.method,
        reindex=stored is not None,
    )
    work.writes.add(batches_of(work.conn, [new]))
    work.versions[f"{entry.type}/{entry.id}"] = version


def _before(work: FhirWork, entry: Entry) -> Stored | None:
    """What an update as sent goes on from; the caller must have written it."""
    if entry.method != "PUT":
        return None
    stored = work.stored(f"{entry.type}/{entry.id}")
    if stored is None:
        raise Unknown(f"There is no {entry.type} with this id.")
    check_version(entry, stored)
    _check_writer(work, stored)
    return stored


def _answer(work: FhirWork, entries: Sequence[Entry]) -> Answered:
    now = work.recording.now
    if not work.asked.type:
        in_order = sorted(entries, key=lambda entry: entry.index)
        responses = [_entry_response(work, entry, now) for entry in in_order]
        return Answered(200, to_bytes(transaction_response(responses)))
    (entry,) = entries
    found = read(work.conn, entry.type, str(entry.id))
    location = f"{work.recording.base_url}/{entry.type}/{entry.id}/_history/{found.version}"
    headers = {"ETag": f'W/"{found.version}"', "Location": location}
    return Answered(201 if entry.method == "POST" else 200, found.body, headers)


def _entry_response(work: FhirWork, entry: Entry, now: datetime) -> EntryResponse:
    version = work.versions[f"{entry.type}/{entry.id}"]
    return EntryResponse(
        status="201 Created" if entry.method == "POST" else "200 OK",
        location=f"{entry.type}/{entry.id}/_history/{version}",
        etag=f'W/"{version}"',
        last_modified=format_instant(now),
    )


def _caller(asked: Asked, partners: Sequence[Partner], recording: Recording) -> Party:
    wanted = asked.caller or recording.operator
    partner = registered(wanted, partners)
    return partner.party if partner else Party()


def _check_writer(work: FhirWork, stored: Stored) -> None:
    """A resource is changed by the party that sent it; the bridge's own copies by nobody."""
    written_here = bool(stored.referral_id) and not stored.source
    other = bool(stored.source) and stored.source != str(work.caller.partner or "")
    if written_here or other:
        raise RuleBroken("wrong-party", f"This {stored.type} was written by another party.")
