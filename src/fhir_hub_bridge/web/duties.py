"""The notices of one referral as they stand: to whom, by when, and which facts prove them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from fhir_hub_bridge.referral.rulebook import Rulebook
from fhir_hub_bridge.store.console_queries import Story
from fhir_hub_bridge.store.notice_records import NoticeRecord
from fhir_hub_bridge.store.notice_rows import COPY
from fhir_hub_bridge.web import words
from fhir_hub_bridge.web.marks import Mark, due_mark


@dataclass(frozen=True, slots=True)
class Duty:
    """A notice as it stands, in words."""

    number: int
    title: str
    recipient: str
    due_at: datetime
    source: str  # which rule of the rulebook set the moment, and how firm that is
    marks: tuple[Mark, ...]
    note: str  # why it is withheld or with a person, or ""
    sent_at: datetime | None
    accepted_at: datetime | None
    received_at: datetime | None


def duties(story: Story, rulebook: Rulebook, *, now: datetime) -> list[Duty]:
    """The notices in the order they go out; `now` judges what is late."""
    return [
        Duty(
            number=notice.lane,
            title=words.owed(notice.type),
            recipient=recipient_of(notice, story),
            due_at=notice.due_at,
            source=source_of(notice),
            marks=tuple(_state_marks(notice, now=now)),
            note=_note(notice, rulebook),
            sent_at=notice.sent_at,
            accepted_at=notice.accepted_at,
            received_at=notice.received_at,
        )
        for notice in story.notices
    ]


def source_of(notice: NoticeRecord) -> str:
    """Which row of the rulebook set the due moment, and how firm that row is."""
    if notice.type == COPY:
        return "project default for copies"
    firm = words.CONFIDENCE.get(notice.confidence, notice.confidence)
    return f"{firm}, row {notice.rulebook_row}"


def recipient_of(notice: NoticeRecord, story: Story) -> str:
    """Whom the notice is for."""
    known: dict[str, str] = {partner.id: partner.name for partner in story.partners}
    requester = story.stored.referral.requester
    return known.get(notice.recipient) or words.party(requester, notice.recipient)


def _state_marks(notice: NoticeRecord, *, now: datetime) -> Iterator[Mark]:
    match notice.state:
        case "confirmed":
            yield Mark("told", "good")
            if notice.is_late(now):
                yield Mark("late", "bad")
        case "withheld":
            yield Mark("withheld")
        case _:
            yield Mark("waiting", "wait")
            if mark := due_mark(notice.due_at, now=now):
                yield mark
            if notice.escalated_at is not None:
                yield Mark(f"with {notice.escalated_to}", "bad")


def _note(notice: NoticeRecord, rulebook: Rulebook) -> str:
    if notice.state == "withheld":
        return words.rule(notice.rule, rulebook)
    if notice.state == "pending" and notice.escalated_at is not None:
        return words.rule(notice.escalated_why, rulebook)
    return ""
