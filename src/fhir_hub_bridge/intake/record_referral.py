"""The one write path: whoever tells us something about a referral, it is recorded here.

In the caller's transaction: rules applied, resources with their versions, events, and the notices
owed with their frozen bytes - all of it or nothing. Before it: `import_file`, `receive_fhir`,
`plan_acts`. After it: `delivery` sends what is owed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import TypeAdapter

from fhir_hub_bridge.errors import RuleBroken
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.dates import format_instant
from fhir_hub_bridge.intake.copies_frozen import Copying, copies_owed, freeze_copy
from fhir_hub_bridge.intake.notices_frozen import Freezing, freeze
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.mapping.provenance_to_fhir import provenance
from fhir_hub_bridge.mapping.referral_to_fhir import ResourceIds, Translating, translate
from fhir_hub_bridge.mapping.sheet import Draft, Sheet
from fhir_hub_bridge.referral.lifecycle import apply, receive, standing, why_held
from fhir_hub_bridge.referral.model import (
    Act,
    Event,
    EventKind,
    Refer,
    Referral,
    ReferralId,
    ReferralUpdate,
)
from fhir_hub_bridge.referral.notices import NoticeOwed, NotOwed, notices_owed
from fhir_hub_bridge.referral.parties import Agreement, Partner, check_may, recognise, registered
from fhir_hub_bridge.store.buckets import bucket_of
from fhir_hub_bridge.store.referrals import (
    StoredReferral,
    bucket_for,
    has_open,
    hold_members,
    rows_of,
)
from fhir_hub_bridge.store.remote_copies import is_child
from fhir_hub_bridge.store.resources import (
    NewVersion,
    Stored,
    batches_of,
    read,
    read_many,
    unstamped,
)
from fhir_hub_bridge.store.unit import Connection
from fhir_hub_bridge.store.writes import Writes

_IDS: TypeAdapter[ResourceIds] = TypeAdapter(ResourceIds)

REVIEW_FLAGS = frozenset({"after-closure", "second-closure", "after-reassignment"})
"""Flags of a statement that a person must look at: stored, never applied."""


@dataclass(frozen=True, slots=True)
class Given:
    """What came with the update as FHIR, with ids already minted."""

    resources: tuple[Json, ...] = ()  # new ones, stored as sent
    edited: Mapping[str, Json] = field(default_factory=dict)  # Type/id -> its sender's new body
    ids: ResourceIds = field(default_factory=ResourceIds)  # which of them are the referral's own
    claim_response: str = ""  # `ClaimResponse/id` that came with a decision, sent along or stored


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of an update."""

    outcome: Literal["recorded", "unchanged", "review"]
    referral: Referral
    versions: Mapping[str, int]  # newest version of each resource written, by Type/id
    owed: tuple[NoticeOwed, ...] = ()
    rule: str = ""


def record_referral(
    conn: Connection,
    update: ReferralUpdate,
    *,
    stored: StoredReferral | None,
    partners: Sequence[Partner],
    recording: Recording,
    writes: Writes,
    given: Given = Given(),
    salt: str = "",
    is_second: bool | None = None,
    found: Mapping[str, Stored] | None = None,
) -> Recorded:
    """Record what a partner says about one referral; its rows are put on `writes`.

    `stored` is the referral as found and locked, None for a new one (the first act is then Refer).
    `is_second` says whether the member has another open referral to the service; None looks.
    `found` holds its stored resources where the caller has read them; None reads them.
    `salt` tells apart several updates of one `recording`. The caller flushes `writes` in the same
    transaction. Raises RuleBroken or UnmappedCode: then nothing was written.

    For each act: 1. may this party do it?  2. the rules: a new referral and its events; for each
    event 3. resources, 4. notices owed, 5. copies for providers with a server or folder, their
    bytes frozen. Then 6. versions, referral, events, notices and copies become rows.
    """
    if found is None:
        found = stored_resources(conn, [stored] if stored else [], given.claim_response)
    at_work = _AtWork(
        conn=conn,
        update=update,
        partners=partners,
        recording=recording,
        writes=Writes(),  # not the caller's before all is well: a refused act leaves nothing there
        bucket=stored.bucket if stored else _bucket_of_new(update, given),
        minted=recording.minter(salt),
        referral=stored.referral if stored else None,
        ids=resource_ids(stored) if stored else given.ids,
        sheet=_sheet(found, given),
        senders=_senders(found, given, update),
        claim_response=given.claim_response,
        last_event=stored.events if stored else 0,
        last_notice=stored.notices if stored else 0,
    )
    for act in update.acts:
        check_may(act, by=update.told.by, referral=at_work.referral, partners=partners)
        made = at_work.apply(act, is_second=is_second)
        for event in made:
            as_of = _as_of(at_work.known(), event, made)
            written = at_work.translate(event, as_of)
            at_work.owe(event, as_of)
            at_work.copy(event, as_of, written)
    at_work.keep_edits(given.edited)
    recorded = at_work.finish()
    writes.add(at_work.writes.batches)
    return recorded


@dataclass(slots=True)
class _AtWork:
    """One update on its way through `record_referral`: where it stands after each act."""

    conn: Connection
    update: ReferralUpdate
    partners: Sequence[Partner]
    recording: Recording
    writes: Writes
    bucket: int
    minted: Callable[[int], str]
    referral: Referral | None
    ids: ResourceIds
    sheet: Sheet
    senders: Mapping[str, str]
    claim_response: str
    last_event: int
    last_notice: int
    events: list[Event] = field(default_factory=list)
    owed: list[NoticeOwed] = field(default_factory=list)
    not_owed: list[NotOwed] = field(default_factory=list)
    copied: set[str] = field(default_factory=set)  # Tasks sent to their providers by this update

    def apply(self, act: Act, *, is_second: bool | None) -> tuple[Event, ...]:
        """The rules: the referral after this act, and the events it made."""
        if self.referral is None:
            made = self._open(act, is_second=is_second)
        else:
            self.referral, made = apply(
                self.referral,
                act,
                told=self.update.told,
                rulebook=self.recording.rulebook,
                last_event=self.last_event,
            )
        self.last_event += len(made)
        self.events += made
        return made

    def known(self) -> Referral:
        """The referral, which an update has after its first act."""
        if self.referral is None:
            raise RuleBroken("no-referral", "There is no referral to record this on.")
        return self.referral

    def translate(self, event: Event, as_of: Referral) -> set[str]:
        """Put the versions that this event means on the sheet; what was written, as `Type/id`."""
        before = len(self.sheet.drafts)
        by = Translating(
            self.recording.rulebook,
            self.recording.now,
            lambda: self.minted(self.bucket),
            self.claim_response,
        )
        self.ids = translate(as_of, (event,), ids=self.ids, sheet=self.sheet, by=by)
        return {draft.reference for draft in self.sheet.drafts[before:]}

    def owe(self, event: Event, as_of: Referral) -> None:
        """Freeze the notices that this event owes; note the rule where it owes none."""
        # a referring entity registered after it referred is told from then on
        as_of = replace(as_of, requester=recognise(as_of.requester, self.partners))
        agreement = _agreement(as_of, self.partners)
        owed, not_owed = notices_owed(
            as_of, (event,), agreement=agreement, rulebook=self.recording.rulebook
        )
        freezing = Freezing(as_of, event, self.ids, agreement, self.recording, self.bucket)
        for notice in owed:
            self.last_notice += 1
            freeze(
                notice,
                freezing,
                lane=self.last_notice,
                sheet=self.sheet,
                minted=self.minted,
                writes=self.writes,
            )
        self.owed += owed
        self.not_owed += not_owed

    def copy(self, event: Event, as_of: Referral, written: Collection[str]) -> None:
        """Freeze the copies of providers whose part this event changed."""
        about = Copying(as_of, event, self.ids, self.partners, self.recording, self.bucket)
        for owed in copies_owed(about, written):
            self.last_notice += 1
            task = owed.copies.task
            freeze_copy(
                owed,
                about,
                lane=self.last_notice,
                sheet=self.sheet,
                patient=self._patient(),
                is_there=task in self.copied or is_child(self.conn, task),
                minted=self.minted,
                writes=self.writes,
            )
            self.copied.add(task)

    def _patient(self) -> Json:
        reference = f"Patient/{self.ids.patient}"
        if self.sheet.has(reference):
            return self.sheet.now(reference)
        return unstamped(read(self.conn, "Patient", self.ids.patient).parsed())

    def keep_edits(self, edited: Mapping[str, Json]) -> None:
        """What a sender changed of its own besides what the rules own."""
        for reference, body in edited.items():
            if not self.sheet.is_written(reference):
                stamp = {"lastModified": format_instant(self.recording.now)}
                self.sheet.put({**body, **(stamp if body["resourceType"] == "Task" else {})})

    def finish(self) -> Recorded:
        """Everything as rows, and what became of the update."""
        referral, drafts = self.known(), self.sheet.drafts
        if not self.events and not drafts:
            return Recorded("unchanged", referral, {})
        if self.events:
            self.sheet.put(
                provenance(
                    self.minted(self.bucket),
                    told=self.update.told,
                    events=self.events,
                    drafts=drafts,
                )
            )
        self.writes.add(batches_of([self._version(draft) for draft in drafts]))
        after = StoredReferral(
            bucket=self.bucket,
            referral=referral,
            resources=_IDS.dump_json(self.ids).decode(),
            events=self.last_event,
            notices=self.last_notice,
            held=why_held(referral),
        )
        where = _standing(referral, self.recording)
        self.writes.add(
            rows_of(after, self.events, self.not_owed, standing=where, now=self.recording.now)
        )
        flagged = {flag for event in self.events for flag in event.flags} & REVIEW_FLAGS
        return Recorded(
            "review" if flagged else "recorded",
            referral,
            {draft.reference: draft.version for draft in drafts},
            tuple(self.owed),
            rule=", ".join(sorted(flagged)),
        )

    def _open(self, act: Act, *, is_second: bool | None) -> tuple[Event, ...]:
        if not isinstance(act, Refer):
            raise RuleBroken("no-referral", "There is no referral to record this on.")
        id_ = self.minted(self.bucket)
        self.referral, made = receive(
            act,
            id=ReferralId(id_),
            clr_id=id_,
            told=self.update.told,
            rulebook=self.recording.rulebook,
        )
        if is_second is None:
            if self.referral.cin:  # another who opens one of her referrals now waits, then sees it
                hold_members(self.conn, {self.referral.cin}, now=self.recording.now)
            is_second = has_open(self.conn, self.referral.cin, self.referral.service)
        # told separately; neither referrer learns of the other
        return (replace(made[0], flags=("second-referral",)),) if is_second else made

    def _version(self, draft: Draft) -> NewVersion:
        return NewVersion(
            draft.resource,
            draft.version,
            self.recording.now,
            self.senders.get(draft.reference, ""),
            self.known().id,
            "POST" if draft.version == 1 else "PUT",
        )


def resource_ids(stored: StoredReferral) -> ResourceIds:
    """The ids of a stored referral's resources."""
    return _IDS.validate_json(stored.resources)


def stored_resources(
    conn: Connection, referrals: Sequence[StoredReferral], claim_response: str = ""
) -> dict[str, Stored]:
    """What translations of these referrals go on from: Tasks, requests, one ClaimResponse."""
    own = (ref for referral in referrals for ref in resource_ids(referral).references())
    named = (reference.partition("/") for reference in (*own, claim_response))
    used = ("Task", "ServiceRequest", "ClaimResponse")
    return read_many(conn, [(type_, id_) for type_, _, id_ in named if type_ in used])


def _bucket_of_new(update: ReferralUpdate, given: Given) -> int:
    refer = update.acts[0]
    if not isinstance(refer, Refer):
        raise RuleBroken("no-referral", "There is no referral to record this on.")
    cin = refer.member.cin
    if given.ids.task and not cin:
        return bucket_of("Task", given.ids.task)
    return bucket_for(cin, otherwise=f"{update.told.evidence}")  # where her files look for her


def _sheet(found: Mapping[str, Stored], given: Given) -> Sheet:
    sheet = Sheet(
        {reference: (unstamped(s.parsed()), s.version) for reference, s in found.items()},
        edited=given.edited,
    )
    for resource in given.resources:
        sheet.put(resource)
    return sheet


def _senders(found: Mapping[str, Stored], given: Given, update: ReferralUpdate) -> dict[str, str]:
    """Who sent a resource and may change it; what is written here, like SR2, nobody sent."""
    by = str(update.told.by.partner or "")
    sent = {f"{r['resourceType']}/{r['id']}": by for r in given.resources}
    return {reference: stored.source for reference, stored in found.items()} | sent


def _as_of(referral: Referral, event: Event, made: Sequence[Event]) -> Referral:
    """The referral at this event: not yet closed where the closure is a later event of the act."""
    closes = made[-1].kind is EventKind.LOOP_CLOSED
    return replace(referral, closure=None) if closes and event is not made[-1] else referral


def _agreement(referral: Referral, partners: Sequence[Partner]) -> Agreement | None:
    requester = registered(referral.requester.partner, partners)
    return requester.agreement if requester else None


def _standing(referral: Referral, recording: Recording) -> str:
    status = standing(referral, recording.rulebook)
    if status is not None:
        return status.value
    return f"authorization-{referral.decision.status}" if referral.decision else "received"
