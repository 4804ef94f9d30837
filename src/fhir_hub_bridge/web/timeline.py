"""One referral on one timeline: what was said, what was recorded, who was told, what proves it.

Pure. Before: `store.console_queries.Story`. After: the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Literal, TypeAlias

from pydantic import TypeAdapter

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.mapping.referral_to_fhir import ResourceIds
from fhir_hub_bridge.referral.model import (
    Decide,
    Event,
    ReferralStatus,
    Report,
)
from fhir_hub_bridge.referral.rulebook import Rulebook
from fhir_hub_bridge.store.console_queries import Story
from fhir_hub_bridge.store.notice_records import NoticeRecord
from fhir_hub_bridge.store.notice_rows import COPY, Attempt
from fhir_hub_bridge.store.remote_copies import Trouble
from fhir_hub_bridge.store.resources import Stored
from fhir_hub_bridge.web import times, words
from fhir_hub_bridge.web.duties import recipient_of, source_of
from fhir_hub_bridge.web.marks import Mark, Tone

Kind: TypeAlias = Literal["said", "record", "duty", "try", "proof"]

_IDS: TypeAdapter[ResourceIds] = TypeAdapter(ResourceIds)
# Of one moment: first what was said, then what follows; tries and proofs stay notice by notice.
_RANK: dict[Kind, int] = {"said": 0, "record": 1, "duty": 2, "try": 3, "proof": 3}


@dataclass(frozen=True, slots=True)
class Moment:
    """One entry of the timeline. `version` is the address of a stored version, or ""."""

    at: datetime
    kind: Kind
    title: str
    lines: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    version: str = ""


def timeline(story: Story, rulebook: Rulebook) -> list[tuple[str, list[Moment]]]:
    """Everything that happened, oldest first, by local day."""
    moments = [
        *(_said(event, story, rulebook) for event in story.events),
        *(_record(version, story) for version in story.tasks),
        *(
            moment
            for notice in (*story.notices, *story.copies)
            for moment in _duty(notice, story, rulebook)
        ),
        *(_trouble(trouble, story) for trouble in story.troubles),
    ]
    moments.sort(key=lambda moment: (moment.at, _RANK[moment.kind]))
    return [(day, list(group)) for day, group in groupby(moments, lambda m: times.day(m.at))]


def _said(event: Event, story: Story, rulebook: Rulebook) -> Moment:
    closure = story.stored.referral.closure
    learned_on = times.local_date(event.told.learned_at)
    who = words.party(event.told.by, "")
    lines = [f"{words.evidence(event.told.evidence)}{f', from {who}' if who else ''}."]
    if event.on != learned_on:
        lines.append(f"It happened on {event.on:%b} {event.on.day}, {event.on.year}.")
    if isinstance(event.act, Decide) and event.act.number:
        lines.append(f"Authorization number {event.act.number}.")
    if isinstance(event.act, Report) and event.act.text:
        lines.append("A note came with it; it stays with the plan.")
    lines += [words.FLAG.get(flag, flag) for flag in event.flags]
    for notice, rule in story.not_owed.get(event.number, {}).items():
        told = words.owed(notice).lower()
        lines.append(f"No need to {told}: {words.rule(rule, rulebook)}")
    marks = [Mark("past, told elsewhere")] if event.told.history else []
    if event.flags:
        marks.append(Mark("for review" if "closure" in "".join(event.flags) else "kept", "warn"))
    title = words.event(event, rulebook, closure.reason if closure else "")
    return Moment(event.told.learned_at, "said", title, tuple(lines), tuple(marks))


def _record(version: Stored, story: Story) -> Moment:
    task = version.parsed()
    whose = _whose(version.id, story)
    status = words.TASK_STATUS.get(task.get("status", ""), str(task.get("status", "")))
    lines = []
    stands = _code(task.get("businessStatus"), canonical.REFERRAL_STATUS)
    if stands in set(ReferralStatus):
        lines.append(f"{words.STANDING[ReferralStatus(stands)]}.")
    tags = {tag.get("code") for tag in task.get("meta", {}).get("tag", [])}
    inferred = canonical.TAG_INFERRED in tags
    if inferred:
        lines.append("A step that nobody reported, filled in by rule; nobody is told of it.")
    return Moment(
        version.last_updated,
        "record",
        f"{whose}: {status}",
        tuple(lines),
        (Mark("filled in"),) if inferred else (),
        version=f"{version.type}/{version.id}/_history/{version.version}",
    )


def _duty(notice: NoticeRecord, story: Story, rulebook: Rulebook) -> Iterator[Moment]:
    name = f"{'Copy' if notice.type == COPY else 'Notice'} {notice.lane}"
    owed = [
        f"To {recipient_of(notice, story)}, {words.METHOD.get(notice.method, notice.method)}.",
        f"Due {times.moment(notice.due_at)} ({source_of(notice)}).",
    ]
    withheld = notice.state == "withheld"
    if withheld:
        owed.append(f"Withheld: {words.rule(notice.rule, rulebook)}")
    title = f"{name}: {words.owed(notice.type).lower()}"
    marks = (Mark("withheld"),) if withheld else ()
    yield Moment(notice.owed_at, "duty", title, tuple(owed), marks)
    if notice.escalated_at is not None:
        yield Moment(
            notice.escalated_at,
            "duty",
            f"{name} given to {notice.escalated_to}",
            (f"Why: {words.rule(notice.escalated_why, rulebook)}",),
            (Mark("needs a person", "bad"),),
        )
    for number, attempt in enumerate(story.attempts.get(notice.id, ()), start=1):
        yield _try(name, number, attempt)
    for at, fact in (
        (notice.sent_at, "we sent it"),
        (notice.accepted_at, "their system took it"),
        (notice.received_at, "they have it, by their own word"),
    ):
        if at is not None:
            yield Moment(at, "proof", f"{name}: {fact}")
    if notice.confirmed_at is not None:
        late = notice.confirmed_at > notice.due_at
        yield Moment(
            notice.confirmed_at,
            "proof",
            f"{name}: counts as told",
            (f"SHA-256 of what was sent: {notice.sha256}",),
            (Mark("told", "good"), *((Mark("late", "bad"),) if late else ())),
        )


def _trouble(trouble: Trouble, story: Story) -> Moment:
    names: dict[str, str] = {partner.id: partner.name for partner in story.partners}
    who = names.get(trouble.partner, trouble.partner)
    return Moment(
        trouble.at,
        "record",
        f"What the server of {who} says could not be taken",
        (f"{trouble.reference}: rule {trouble.rule}.",),
        (Mark("needs a person", "bad"),),
    )


def _try(name: str, number: int, attempt: Attempt) -> Moment:
    status = f" (HTTP {attempt.status})" if attempt.status is not None else ""
    said = words.ATTEMPT.get(attempt.outcome, attempt.outcome)
    tones: dict[str, Tone] = {"unavailable": "warn", "refused": "bad", "unsendable": "bad"}
    tone = tones.get(attempt.outcome)
    return Moment(
        attempt.started_at,
        "try",
        f"{name}, try {number}: {said}{status}",
        (attempt.detail,) if attempt.detail else (),
        (Mark("not told", tone),) if tone else (),
    )


def _whose(task_id: str, story: Story) -> str:
    """Whose record a Task is: the plan's, or that of the provider of one assignment."""
    ids = _IDS.validate_json(story.stored.resources)
    if task_id == ids.task:
        return "The plan’s record"
    number = next((a.number for a in ids.assignments if a.task == task_id), 0)
    provider = _provider(number, story.stored.referral.assignments)
    return f"Record of {provider}" if provider else "Another record"


def _provider(number: int, assignments: Sequence[Any]) -> str:
    found = next((a.provider for a in assignments if a.number == number), None)
    return words.party(found, "the provider") if found else ""


def _code(concept: Any, system: str) -> str:
    codings = concept.get("coding", []) if isinstance(concept, dict) else []
    return next((str(c.get("code", "")) for c in codings if c.get("system") == system), "")
