"""IN by FHIR: what a client posts or puts becomes stored resources and recorded referrals.

One request is one transaction, all or nothing. A Task that asks for fulfilment opens a referral
when it is created, or once an update names a party known here;
a change of a tracked Task is what its sender tells about it; both go through `record_referral`.
Anything else is stored as sent. The same request again gets the first answer and stores nothing.
Reads in a transaction are the door's to answer, once its writes are stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from fhir_hub_bridge.connectors.fhir_reader import FhirReader
from fhir_hub_bridge.errors import AlreadyAnswered, Unknown
from fhir_hub_bridge.fhir.bundle import Entry, EntryResponse, transaction_response
from fhir_hub_bridge.fhir.codec import Json, parse_json, to_bytes
from fhir_hub_bridge.fhir.dates import format_instant
from fhir_hub_bridge.fhir.reference import parse_reference
from fhir_hub_bridge.intake.conditions import settled
from fhir_hub_bridge.intake.delete_resource import delete_resource
from fhir_hub_bridge.intake.dialects import in_todays_words_where_tracked
from fhir_hub_bridge.intake.fhir_request import (
    Answered,
    Asked,
    buckets_of_entries,
    read_entries,
    with_ids,
    with_own_relative,
)
from fhir_hub_bridge.intake.fhir_work import FhirWork, check_version, check_writer, cin_systems
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.intake.referral_fetched import (
    NONE_FETCHED,
    Originals,
    fetch_originals,
    note_originals,
)
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
from fhir_hub_bridge.store.repeats import (
    FirstAnswer,
    RepeatKey,
    first_answer,
    forget,
    remembering,
)
from fhir_hub_bridge.store.resources import (
    NewVersion,
    Stored,
    batches_of,
    last_version,
    read,
    read_many,
    unstamped,
)
from fhir_hub_bridge.store.transaction import Store
from fhir_hub_bridge.store.unit import Connection

_READS: Final = ("GET", "HEAD")
_LARGE_BYTES: Final = 1024 * 1024  # of which the judging may take a second

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
    entries = await _entries(asked, recording)
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


async def _entries(asked: Asked, recording: Recording) -> tuple[Entry, ...]:
    """The entries, judged; those of a large body in a thread, so that others need not wait."""
    bases, library = asked.bases(recording.base_url), recording.library
    if len(asked.body) <= _LARGE_BYTES:
        return read_entries(asked, bases=bases, library=library)
    return await asyncio.to_thread(read_entries, asked, bases=bases, library=library)


def receive_unit(
    conn: Connection,
    asked: Asked,
    entries: Sequence[Entry],
    recording: Recording,
    originals: Originals = NONE_FETCHED,
) -> Answered:
    """The unit. 1. Same body before?  2. Conditions, ids.  3. Same referral, or same key, before?
    4. Deletions.  5. Each Task.  6. The rest as sent, or as an amendment.  7. Answer."""
    now, asked_for = recording.now, entries
    conditional = any(entry.if_match is not None for entry in asked_for)
    before = _answer_before(conn, asked.body_keys(asked_for), now=now, conditional=conditional)
    if before is not None:
        return before
    partners = all_partners(conn)
    work = FhirWork(conn, asked, recording, partners, _caller(asked, partners, recording))
    bases, sender = asked.bases(recording.base_url), str(work.caller.partner or "")
    in_bundle = not asked.type
    entries = settled(conn, entries, bases=bases, sender=sender, now=now, in_bundle=in_bundle)
    fetched = with_own_relative(originals.entries, bases=bases)
    writes = [*(entry for entry in entries if entry.method not in _READS), *fetched]
    work.look_ahead(entry.resource for entry in writes if entry.resource)
    buckets = buckets_of_entries(
        writes,
        cin_systems=cin_systems(partners),
        stored=work.resource,
        otherwise=recording.seed.hex(),
    )
    writes = list(with_ids(writes, next_id=recording.minter("entries"), buckets=buckets))
    work.sent = {
        f"{e.type}/{e.id}": e.resource for e in writes if e.method == "POST" and e.resource
    }
    opening_at = {entry.index for entry in writes if opens_referral(work, entry)}
    writes = in_todays_words_where_tracked(work, writes, opening_at=opening_at)
    opening = [entry for entry in writes if entry.index in opening_at]
    names = referral_keys(work, opening)
    # the key of the request counts only where its referrals have no names of their own
    keys = [] if names and all(names) else asked.client_keys()
    first = answered_before(work, opening, names)
    before = Answered(first.status, first.body, first.headers) if first else None
    before = before or _answer_before(conn, keys, now=now, conditional=conditional)
    if before is not None:
        return before
    for entry in writes:
        if entry.method == "DELETE":
            delete_resource(work, entry)
    tasks = [entry for entry in writes if entry.type == "Task" and entry.resource is not None]
    for entry in tasks:
        # the next Task may be of the same member or referral: it must find what this one wrote
        work.writes.flush(conn)
        if entry.index in opening_at:
            open_referral(work, entry, stored=_before(work, entry), only=len(tasks) == 1)
        elif entry.method == "PUT":
            _take_update(work, entry, only=len(tasks) == 1)
    for entry in writes:
        if entry.resource is not None and f"{entry.type}/{entry.id}" not in work.versions:
            _take_as_sent(work, entry, entry.resource)
    by_index = {entry.index: entry for entry in (*entries, *writes)}
    note_originals(work, originals, [by_index[entry.index] for entry in originals.entries])
    answered = _answer(work, [by_index[index] for index in sorted(e.index for e in entries)])
    kept = FirstAnswer(answered.status, answered.headers, answered.body)
    own = [key for one in names for key in one]
    every = [*asked.body_keys(asked_for), *keys, *own]
    work.writes.add([remembering(conn, every, kept, now=now)])
    work.writes.flush(conn)
    return answered


def _answer_before(
    conn: Connection, keys: Sequence[RepeatKey], *, now: datetime, conditional: bool
) -> Answered | None:
    """The first answer to the same request, unless all that it gave the address of is deleted.

    Nor where it names a version it goes on from and another has gone on since: that is a conflict.
    """
    first = first_answer(conn, keys, now=now)
    if first is None:
        return None
    made = dict(_made_by(first))
    current = read_many(conn, made)
    if made and not current:
        forget(conn, keys)
        return None
    if conditional and any(str(c.version) != made[c.type, c.id] for c in current.values()):
        return None
    return Answered(first.status, first.body, first.headers)


def _made_by(first: FirstAnswer) -> Iterator[tuple[tuple[str, str], str | None]]:
    """The resources that an answer gives the addresses of, and their versions then."""
    addresses = [first.headers.get("Location", "")]
    if not addresses[0]:
        entries = parse_json(first.body).get("entry", [])
        addresses = [entry["response"].get("location", "") for entry in entries]
    for address in addresses:
        found = parse_reference(address)
        if found is not None:
            yield (found.type, found.id), found.version


def _take_update(work: FhirWork, entry: Entry, *, only: bool) -> None:
    """Record what an update of a tracked Task says; others are stored as sent later on."""
    assert entry.resource is not None  # noqa: S101  # the caller filtered
    stored = work.stored(f"Task/{entry.id}")
    if stored is not None and stored.referral_id:
        change_task(work, entry, entry.resource, stored, only=only)


def _take_as_sent(work: FhirWork, entry: Entry, body: Json) -> None:
    stored = _before(work, entry)
    if stored is not None and stored.referral_id:
        work.writes.flush(work.conn)  # it must find what the entries before it wrote
        if amend_referral(work, entry, stored):
            return
    version = stored.version + 1 if stored else 1
    if stored is None and entry.method == "PUT":
        version = _version_after_deletion(work, entry)
    new = NewVersion(
        unstamped(body),
        version,
        work.recording.now,
        stored.source if stored else str(work.caller.partner or ""),
        stored.referral_id if stored else "",
        entry.method,
    )
    work.writes.add(batches_of([new]))
    work.versions[f"{entry.type}/{entry.id}"] = version


def _before(work: FhirWork, entry: Entry) -> Stored | None:
    """What an update as sent goes on from; the caller must have written it."""
    if entry.method != "PUT":
        return None
    stored = work.held(entry.type, str(entry.id))
    if stored is not None:
        check_version(entry, stored.version)
        check_writer(work, stored)
    return stored


def _version_after_deletion(work: FhirWork, entry: Entry) -> int:
    """An update by its sender brings a deleted resource back; what never was it does not create."""
    last = last_version(work.conn, entry.type, str(entry.id))
    if last is None:
        raise Unknown(f"There is no {entry.type} with this id; create it with POST.")
    check_version(entry, last.version)
    check_writer(work, last)
    work.revived.add(f"{entry.type}/{entry.id}")
    return last.version + 1


def _answer(work: FhirWork, entries: Sequence[Entry]) -> Answered:
    """The answer; `entries` in the order in which they came."""
    if not work.asked.type:
        responses = [_entry_response(work, entry) for entry in entries]
        return Answered(200, to_bytes(transaction_response(responses)))
    (entry,) = entries
    if entry.method == "DELETE":
        version = work.versions.get(f"{entry.type}/{entry.id}")
        return Answered(204, b"", {"ETag": f'W/"{version}"'} if version else {})
    found = _as_it_will_be(work, entry)
    location = f"{work.recording.base_url}/{entry.type}/{entry.id}/_history/{found.version}"
    headers = {"ETag": f'W/"{found.version}"', "Location": location}
    return Answered(201 if _created(work, entry) else 200, found.body, headers)


def _as_it_will_be(work: FhirWork, entry: Entry) -> Stored:
    """The current version once all that waits is stored."""
    waiting = work.writes.waiting(entry.type, str(entry.id))
    return waiting or read(work.conn, entry.type, str(entry.id))


def _entry_response(work: FhirWork, entry: Entry) -> EntryResponse:
    """A read's place is kept; the door fills it."""
    if entry.method in _READS:
        return EntryResponse("200 OK")
    reference = f"{entry.type}/{entry.id}"
    version = work.versions.get(reference)
    if entry.method == "DELETE":
        return EntryResponse("204 No Content", etag=f'W/"{version}"' if version else None)
    at = work.recording.now
    if version is None:
        found = _as_it_will_be(work, entry)
        version, at = found.version, found.last_updated
    return EntryResponse(
        status="201 Created" if _created(work, entry) else "200 OK",
        location=f"{reference}/_history/{version}",
        etag=f'W/"{version}"',
        last_modified=format_instant(at),
    )


def _created(work: FhirWork, entry: Entry) -> bool:
    made = entry.method == "POST" and entry.resource is not None
    return made or f"{entry.type}/{entry.id}" in work.revived


def _caller(asked: Asked, partners: Sequence[Partner], recording: Recording) -> Party:
    wanted = asked.caller or recording.operator
    partner = registered(wanted, partners)
    return partner.party if partner else Party()
