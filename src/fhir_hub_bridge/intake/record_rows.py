"""A few rows of a file recorded in one transaction, each with what became of it.

A row first finds its referral: plan, CIN and service, then its provider; of several, a person
decides. A row that speaks of no referral follows the source's policy. No row invents a referral
date or a referrer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any, Literal

from fhir_hub_bridge.errors import Issue, Rejected, RuleBroken
from fhir_hub_bridge.intake.record_referral import (
    record_referral,
    resource_ids,
    stored_resources,
)
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.mapping.row_to_referral import RowReading, RowUpdate
from fhir_hub_bridge.referral.deadlines import local_date
from fhir_hub_bridge.referral.identity import spoken_of
from fhir_hub_bridge.referral.model import (
    Act,
    Assign,
    Evidence,
    Party,
    Refer,
    ReferralUpdate,
    Told,
)
from fhir_hub_bridge.referral.parties import (
    Partner,
    plan_by_now,
    recognise,
    recognise_plan,
    registered,
)
from fhir_hub_bridge.store.imports import row_batches
from fhir_hub_bridge.store.partners import all_partners
from fhir_hub_bridge.store.referrals import (
    StoredReferral,
    find_of_members,
    hold_members,
    party_key,
)
from fhir_hub_bridge.store.resources import Stored
from fhir_hub_bridge.store.rows import Batch, insert_all
from fhir_hub_bridge.store.unit import Connection
from fhir_hub_bridge.store.writes import Writes

Outcome = Literal["recorded", "unchanged", "review", "rejected"]

FOR_REVIEW = frozenset({"not-assigned"})
"""Rules whose breach is for a person to settle, not a fault of the row."""


@dataclass(frozen=True, slots=True)
class ReadRow:
    """A row as read, by the sender's headings; its digest says whether it was seen before."""

    digest: str
    columns: tuple[str, ...]
    reading: RowReading

    @property
    def line(self) -> int:
        """Its line in the file."""
        return self.reading.line

    @property
    def update(self) -> RowUpdate | None:
        """What it says, None where issues forbid."""
        return self.reading.update

    def kept(self) -> dict[str, str]:
        """Its cells by heading, to be stored."""
        return dict(zip(self.columns, self.reading.cells, strict=False))


@dataclass(frozen=True, slots=True)
class RowFact:
    """What became of a row."""

    line: int
    outcome: Outcome
    rule: str = ""
    referral_id: str = ""
    issues: tuple[Issue, ...] = ()
    notices_owed: int = 0


@dataclass(frozen=True, slots=True)
class ImportContext:
    """The file the rows come from and how to treat them."""

    recording: Recording
    file_id: str
    file_name: str
    file_digest: str
    layout: str
    sender: str  # partner id, or ""
    unmatched: str  # review, open or keep
    history: bool = False

    def opened(self) -> dict[str, Any]:
        """The file as `store.imports` keeps it."""
        return {
            "id": self.file_id,
            "name": self.file_name,
            "digest": self.file_digest,
            "layout": self.layout,
            "sender": self.sender,
            "at": self.recording.now,
        }


@dataclass(slots=True)
class _Unit:
    """One unit at work: what it knows, and what it will write."""

    conn: Connection
    context: ImportContext
    partners: tuple[Partner, ...]
    known: dict[tuple[str, str], list[StoredReferral]]
    resources: Mapping[str, Stored]  # of the known referrals, as they were before this unit
    touched: set[str] = field(default_factory=set)  # CINs of members written on
    recorded: set[str] = field(default_factory=set)  # digests of rows
    writes: Writes = field(default_factory=Writes)


def record_rows(conn: Connection, rows: Sequence[ReadRow], context: ImportContext) -> list[RowFact]:
    """The unit: every row's fact, in order, and all that follows from them, in one transaction."""
    wanted = [(r.update.cin, r.update.service) for r in rows if r.update]
    if context.unmatched == "open":
        hold_members(conn, {cin for cin, _ in wanted}, now=context.recording.now)
    found = find_of_members(conn, wanted)
    resources = stored_resources(conn, found)
    unit = _Unit(conn, context, all_partners(conn), _by_member(found), resources)
    facts = [_fact(unit, row) for row in rows]
    unit.writes.add(_fact_batches(rows, facts, context))
    unit.writes.flush(conn)
    return facts


def leave_to_a_person(
    conn: Connection, row: ReadRow, context: ImportContext, *, rule: str
) -> list[RowFact]:
    """The unit of a row that could not be recorded: only that is kept, for a person to see."""
    fact = RowFact(row.line, "review", rule)
    insert_all(conn, _fact_batches([row], [fact], context))
    return [fact]


def _fact_batches(
    rows: Sequence[ReadRow], facts: Sequence[RowFact], context: ImportContext
) -> list[Batch]:
    stored = [
        {**asdict(fact), "cells": row.kept(), "digest": row.digest}
        for fact, row in zip(facts, rows, strict=True)
    ]
    return row_batches(context.file_id, stored)


def _fact(unit: _Unit, row: ReadRow) -> RowFact:
    if row.digest in unit.recorded:  # the very same row stands twice in the file
        return RowFact(row.line, "unchanged")
    fact = _record_row(unit, row)
    if fact.outcome in ("recorded", "unchanged"):
        unit.recorded.add(row.digest)
    return fact


def _record_row(unit: _Unit, row: ReadRow) -> RowFact:
    if row.update is None:
        issues = row.reading.issues
        return RowFact(row.line, "rejected", issues[0].rule, issues=issues)
    update = row.update
    key = (update.cin, update.service)
    if update.cin in unit.touched:  # an earlier row of this unit wrote on her: look again
        unit.writes.flush(unit.conn)
        unit.known[key] = find_of_members(unit.conn, [key])
    provider = recognise(update.provider, unit.partners)
    if update.report and provider.is_named and not provider.is_numbered:
        return RowFact(row.line, "review", "provider-not-identified")
    if update.report is not None:  # who may report is a question to the partner, not to its number
        update = replace(update, report=replace(update.report, provider=provider))
    plan = recognise_plan(update.plan_code, update.plan_name, unit.partners)
    candidates = {
        stored.referral.id: stored
        for stored in unit.known.get(key, [])
        if party_key(plan_by_now(stored.referral.plan, unit.partners)) == party_key(plan)
    }
    found = spoken_of([c.referral for c in candidates.values()], provider, update.report)
    if len(found) > 1:
        return RowFact(row.line, "review", "several-referrals")
    try:
        if not found:
            return _unmatched(unit, row, update, plan=plan, provider=provider)
        return _matched(unit, row, update, candidates[found[0].id], provider=provider)
    except RuleBroken as error:
        if error.rule in FOR_REVIEW:
            return RowFact(row.line, "review", error.rule)
        return RowFact(row.line, "rejected", error.rule, issues=_placed(error, row))
    except Rejected as error:
        return RowFact(row.line, "rejected", "unmapped-code", issues=_placed(error, row))


def _matched(
    unit: _Unit, row: ReadRow, update: RowUpdate, found: StoredReferral, *, provider: Party
) -> RowFact:
    if update.report is None:
        return RowFact(row.line, "recorded", "provider-report", found.referral.id)
    said = ReferralUpdate(_told(unit, row, provider), (update.report,))
    return _record(unit, row, said, found)


def _unmatched(
    unit: _Unit, row: ReadRow, update: RowUpdate, *, plan: Party, provider: Party
) -> RowFact:
    """A row that speaks of no referral: kept, shown to a person, or opened, as its source says."""
    policy = unit.context.unmatched
    if policy == "keep" and update.report is None:
        return RowFact(row.line, "recorded", "provider-report")
    if policy != "open":
        return RowFact(row.line, "review", "no-referral")
    told = _told(unit, row, provider)
    refer = Refer(
        service=update.service,
        member=update.member,
        plan=plan,
        requester=Party(),
        inferred=True,
    )
    on = update.report.on if update.report else _today(unit)
    acts: tuple[Act, ...] = (refer, Assign(provider, on))
    if update.report:
        acts = (*acts, update.report)
    return _record(unit, row, ReferralUpdate(told, acts), None)


def _record(
    unit: _Unit, row: ReadRow, update: ReferralUpdate, stored: StoredReferral | None
) -> RowFact:
    recorded = record_referral(
        unit.conn,
        update,
        stored=stored,
        partners=unit.partners,
        recording=unit.context.recording,
        writes=unit.writes,
        salt=f"{unit.context.file_id}:{row.line}",
        is_second=stored is None and _has_open(unit, row),
        found=_resources(unit, row, stored),
    )
    if recorded.outcome != "unchanged" and row.update:
        unit.touched.add(row.update.cin)
    owed = len(recorded.owed)
    return RowFact(row.line, recorded.outcome, recorded.rule, recorded.referral.id, (), owed)


def _resources(
    unit: _Unit, row: ReadRow, stored: StoredReferral | None
) -> Mapping[str, Stored] | None:
    """The referral's resources as read for the whole unit; None once a row wrote on them."""
    if stored is None:
        return {}
    if row.update is None or row.update.cin in unit.touched:
        return None
    own = resource_ids(stored).references()
    return {
        reference: unit.resources[reference] for reference in own if reference in unit.resources
    }


def _has_open(unit: _Unit, row: ReadRow) -> bool:
    key = (row.update.cin, row.update.service) if row.update else ("", "")
    return any(stored.referral.closure is None for stored in unit.known.get(key, []))


def _told(unit: _Unit, row: ReadRow, provider: Party) -> Told:
    """A hub speaks for the provider its row names; without a sender the provider speaks itself."""
    context = unit.context
    sender = registered(context.sender, unit.partners)
    evidence = Evidence(
        "file",
        source=context.layout,
        file=context.file_name,
        row=row.line,
        digest=context.file_digest,
    )
    by = sender.party if sender else provider
    return Told(
        by=by,
        learned_at=context.recording.now,
        evidence=evidence,
        on_behalf_of=Party() if by.is_same_as(provider) else provider,
        history=context.history,
    )


def _today(unit: _Unit) -> date:
    recording = unit.context.recording
    return local_date(recording.now, recording.rulebook.calendar)


def _placed(error: Rejected, row: ReadRow) -> tuple[Issue, ...]:
    return tuple(
        Issue(f"row {row.line}", issue.message, code=issue.code, rule=issue.rule)
        for issue in error.issues or (Issue("", str(error), rule="unmapped-code"),)
    )


def _by_member(
    found: Sequence[StoredReferral],
) -> dict[tuple[str, str], list[StoredReferral]]:
    by_member: dict[tuple[str, str], list[StoredReferral]] = {}
    for stored in found:
        by_member.setdefault((stored.referral.cin, stored.referral.service), []).append(stored)
    return by_member
