"""What people read on a terminal: one referral's story, and what is open. The same as JSON.

The words are the console's; nothing of a member is shown. Before: `web.timeline`. After: `cli`,
`demo`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fhir_hub_bridge.referral import lifecycle
from fhir_hub_bridge.referral.model import Decide, Event, Referral, Report
from fhir_hub_bridge.referral.rulebook import Rulebook
from fhir_hub_bridge.store.console_queries import OpenLoop, Overview, Story
from fhir_hub_bridge.store.notice_records import NoticeRecord
from fhir_hub_bridge.store.notice_rows import Attempt
from fhir_hub_bridge.web import times, words
from fhir_hub_bridge.web.marks import Mark, standing_mark
from fhir_hub_bridge.web.timeline import Kind, Moment, timeline

STYLES: Final[Mapping[str, str]] = MappingProxyType(
    {"good": "green", "wait": "cyan", "warn": "yellow", "bad": "bold red", "plain": "dim"}
)
"""How each tone of the console looks on a terminal."""

_LABELS: Final[Mapping[Kind, str]] = MappingProxyType(
    {"said": "said", "record": "Task", "duty": "owed", "try": "sent", "proof": "proof"}
)


def tell_story(story: Story, rulebook: Rulebook, *, console: Console | None = None) -> None:
    """Everything that happened to one referral, oldest first."""
    out = console or Console()
    referral = story.stored.referral
    name = referral.identifiers[0].value if referral.identifiers else referral.id
    heading = Text(f"Referral {name}", style="bold")
    heading.append(f"  {words.service(referral.service, rulebook)}", style="default")
    heading.append(f", referred by {words.party(referral.requester, 'nobody outside the plan')}  ")
    heading.append_text(_mark(standing_mark(referral, rulebook)))
    out.print(heading, soft_wrap=True)
    for day, moments in timeline(story, rulebook):
        out.print(Text(day, style="bold"))
        table = Table.grid(padding=(0, 1))
        table.add_column(justify="right", style="dim", no_wrap=True)
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for moment in _proofs_joined(moments):
            table.add_row(times.clock(moment.at), _LABELS[moment.kind], _told(moment))
            if details := " ".join((*moment.lines, moment.version)).strip():
                table.add_row("", "", Padding(Text(details, style="dim"), (0, 0, 0, 2)))
        out.print(table)


def story_as_json(story: Story, rulebook: Rulebook) -> dict[str, Any]:
    """One referral's story for programs; instants are UTC."""
    referral = story.stored.referral
    return {
        **_where_it_stands(referral, rulebook),
        "held": story.stored.held,
        "events": [_event(event, story) for event in story.events],
        "tasks": [
            {
                "version": f"{version.type}/{version.id}/_history/{version.version}",
                "at": version.last_updated.isoformat(),
                "status": version.parsed().get("status"),
            }
            for version in story.tasks
        ],
        "notices": [_notice(notice, story.attempts.get(notice.id, [])) for notice in story.notices],
        "copies": [_notice(copy, story.attempts.get(copy.id, [])) for copy in story.copies],
        "partner_servers": [
            {
                "partner": trouble.partner,
                "resource": trouble.reference,
                "not_taken_by_rule": trouble.rule,
                "at": trouble.at.isoformat(),
            }
            for trouble in story.troubles
        ],
    }


def tell_open_loops(found: Overview, rulebook: Rulebook, *, console: Console | None = None) -> None:
    """The counts and the most urgent loops."""
    out = console or Console()
    notices = found.notices
    out.print(f"{found.loops_open} loops open, {found.loops_closed} closed.")
    out.print(
        f"{notices.owed} notices owed: {notices.confirmed} confirmed, {notices.withheld} withheld, "
        f"{notices.pending} pending ({notices.escalated} with a person); {notices.late} late."
    )
    table = Table("Referral", "Service", "Stands", "Next notice due", "With", box=None)
    for loop in found.loops:
        table.add_row(
            loop.referral.id,
            words.service(loop.referral.service, rulebook),
            words.standing(loop.referral, rulebook),
            times.moment(loop.due_at) if loop.due_at else "",
            loop.escalated_to,
        )
    if found.loops:
        out.print(table)
    if found.listed > len(found.loops):
        out.print(f"The {len(found.loops)} most urgent of {found.listed}.")


def open_loops_as_json(found: Overview, rulebook: Rulebook) -> dict[str, Any]:
    """The same for programs."""
    return {
        "loops_open": found.loops_open,
        "loops_closed": found.loops_closed,
        "listed": found.listed,
        "notices_owed": found.notices.owed,
        "notices_confirmed": found.notices.confirmed,
        "notices_withheld": found.notices.withheld,
        "notices_pending": found.notices.pending,
        "notices_escalated": found.notices.escalated,
        "notices_late": found.notices.late,
        "copies_pending": found.copies.pending,
        "copies_escalated": found.copies.escalated,
        "loops": [_loop(loop, rulebook) for loop in found.loops],
    }


def _proofs_joined(moments: Sequence[Moment]) -> list[Moment]:
    """The facts that prove one notice, in one entry where they follow each other."""
    joined: list[Moment] = []
    for moment in moments:
        before = joined[-1] if joined else None
        notice, _, fact = moment.title.partition(": ")
        if (
            before is not None
            and before.kind == moment.kind == "proof"
            and before.title.startswith(f"{notice}: ")
        ):
            title, marks = f"{before.title}, {fact}", (*before.marks, *moment.marks)
            lines = (*before.lines, *moment.lines)
            joined[-1] = replace(moment, title=title, lines=lines, marks=marks)
        else:
            joined.append(moment)
    return joined


def _told(moment: Moment) -> Text:
    text = Text(moment.title, style="bold" if moment.kind == "said" else "")
    for mark in moment.marks:
        text.append("  ")
        text.append_text(_mark(mark))
    return text


def _mark(mark: Mark) -> Text:
    return Text(f"[{mark.text}]", style=STYLES[mark.tone])


def _where_it_stands(referral: Referral, rulebook: Rulebook) -> dict[str, Any]:
    standing = lifecycle.standing(referral, rulebook)
    closure = referral.closure
    return {
        "id": referral.id,
        "clr_id": referral.clr_id,
        "identifiers": [i.value for i in referral.identifiers],
        "service": referral.service,
        "requester": referral.requester.partner or referral.requester.name,
        "provider": (
            referral.assignment.provider.partner or referral.assignment.provider.name
            if referral.assignment
            else ""
        ),
        "authorization": referral.decision.status if referral.decision else "",
        "status": standing.value if standing else "",
        "closed": closure is not None,
        "closure_reason": closure.reason if closure else "",
        "closed_on": closure.on.isoformat() if closure else "",
    }


def _event(event: Event, story: Story) -> dict[str, Any]:
    said = ""
    match event.act:
        case Decide(status=status):
            said = status
        case Report(status=report):
            said = report.value
    return {
        "number": event.number,
        "kind": event.kind.value,
        "said": said,
        "on": event.on.isoformat(),
        "learned_at": event.told.learned_at.isoformat(),
        "by": event.told.by.partner or event.told.by.name,
        "channel": event.told.evidence.channel,
        "file": event.told.evidence.file,
        "row": event.told.evidence.row,
        "flags": list(event.flags),
        "not_owed": dict(story.not_owed.get(event.number, {})),
    }


def _notice(notice: NoticeRecord, attempts: list[Attempt]) -> dict[str, Any]:
    facts = {name: getattr(notice, name) for name in _FACTS}
    return {
        **{k: v.isoformat() if isinstance(v, datetime) else v for k, v in facts.items()},
        "attempts": [
            {
                "at": attempt.started_at.isoformat(),
                "outcome": attempt.outcome,
                "status": attempt.status,
                "detail": attempt.detail,
            }
            for attempt in attempts
        ],
    }


_FACTS: Final = (
    "id", "lane", "type", "recipient", "event_number", "state", "rule", "rulebook_row",
    "confidence", "owed_at", "due_at", "method", "sha256", "sent_at", "accepted_at",
    "received_at", "confirmed_at", "escalated_at", "escalated_to", "escalated_why",
)  # fmt: skip


def _loop(loop: OpenLoop, rulebook: Rulebook) -> dict[str, Any]:
    return {
        **_where_it_stands(loop.referral, rulebook),
        "held": loop.held,
        "due_at": loop.due_at.isoformat() if loop.due_at else "",
        "due_type": loop.due_type,
        "escalated_to": loop.escalated_to,
    }
