"""The demo's cast: made-up referrals, what plan and providers do with each, and how it must end.

A plot is a list of beats in rounds: odd rounds are the plan's acts, even rounds the providers'
reports (one file each). Dates count back from a given day; nothing here reads a clock.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from fhir_hub_bridge.sandbox.synthetic.people import Member, members
from fhir_hub_bridge.sandbox.synthetic.plots import CAST, PLOTS

IDENTIFIER_SYSTEM = "https://ehr.example/referrals"
OUTSIDE_CLOSED_LOOP = frozenset({"sobering-centers", "community-health-worker", "doula"})
ROUNDS = 6

Step = dict[str, Any]
NoticesEnd = Literal["confirmed", "withheld", "escalated", "none"]


@dataclass(frozen=True, slots=True)
class Report:
    """What a provider reports of a referral in one round; codes, not labels."""

    round: int
    status: str
    on: date
    provider: str
    reason: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class CastEntry:
    """One referral of the demo.

    `channel` is how the requester is told: pushed by FHIR or dropped as a file. `requester` is a
    partner id, `member` (self-referral) or `unregistered`. `expected_end` is a
    closure reason code or `open`. `expected_notices` are the referrer notices owed, in order,
    `status-changed/<status>` where the agreement asks for every status.
    """

    identifier: str
    identifier_system: str
    member: Member
    service: str
    channel: Literal["fhir", "file"]
    requester: str
    referred_on: date
    plot: str
    steps: tuple[Step, ...]
    reports: tuple[Report, ...]
    providers: tuple[str, ...]
    expected_end: str
    expected_notices: tuple[str, ...]
    notices_end: NoticesEnd
    is_outage: bool = False

    @property
    def provider(self) -> str:
        """The provider that has it in the end, or "" where none ever had."""
        return next((s["provider"] for s in reversed(self.steps) if s["act"] == "assign"), "")

    @property
    def is_closed_loop(self) -> bool:
        """Whether closed-loop referral duties apply to the service."""
        return self.service not in OUTSIDE_CLOSED_LOOP

    def steps_in(self, round_: int) -> list[Step]:
        """The plan's steps of one round."""
        return [step for step in self.steps if step["round"] == round_]

    def reports_in(self, round_: int) -> list[Report]:
        """The providers' reports of one round."""
        return [report for report in self.reports if report.round == round_]


_DENIED = "The plan's made-up criteria are not met"

_TOLD_EVERY_STATUS = "river-clinic"
_NOTICES_END: dict[str, NoticesEnd] = {
    "member": "none",
    "late-start-clinic": "withheld",
    "unregistered": "escalated",
}


def cast(seed: int = 1, *, today: date, days_between: int = 0) -> list[CastEntry]:
    """The demo's referrals, R-0001 first: it has the outage.

    Acts and reports are dated `today`, or `days_between` days apart with the last one `today`;
    the referrals were made three to twelve days before the first.
    """
    dice = random.Random(seed)
    people = members(seed, count=len(CAST), today=today)
    return [
        _entry(
            number,
            row,
            member=member,
            today=today,
            days_between=days_between,
            days_before=dice.randrange(3, 13),
        )
        for number, (row, member) in enumerate(zip(CAST, people, strict=True), start=1)
    ]


def plan_script(entries: Sequence[CastEntry]) -> dict[str, list[Step]]:
    """The cast's steps as the script file of the pretend plan."""
    return {entry.identifier: list(entry.steps) for entry in entries}


def _entry(
    number: int,
    row: tuple[str, str, str, tuple[str, ...]],
    *,
    member: Member,
    today: date,
    days_between: int,
    days_before: int,
) -> CastEntry:
    service, requester, plot, providers = row
    steps, reports = _acted(number, plot, providers, today=today, days_between=days_between)
    end = _end(steps, reports)
    outside = service in OUTSIDE_CLOSED_LOOP
    return CastEntry(
        identifier=f"R-{number:04d}",
        identifier_system=IDENTIFIER_SYSTEM,
        member=member,
        service=service,
        channel="file" if requester == "valley-county" else "fhir",
        requester=requester,
        referred_on=today - timedelta(days=days_between * (ROUNDS - 1) + days_before),
        plot=plot,
        steps=tuple(steps),
        reports=tuple(reports),
        providers=providers,
        expected_end=end,
        expected_notices=(
            ()
            if outside or requester == "member"
            else tuple(_notices(steps, reports, every_status=requester == _TOLD_EVERY_STATUS))
        ),
        notices_end="none" if outside else _NOTICES_END.get(requester, "confirmed"),
        is_outage=number == 1,
    )


def _acted(
    number: int, plot: str, providers: tuple[str, ...], *, today: date, days_between: int
) -> tuple[list[Step], list[Report]]:
    """The plot's beats as the plan's steps and the providers' reports."""
    steps: list[Step] = []
    reports: list[Report] = []
    provider = ""
    for round_, beat, detail in PLOTS[plot]:
        on = today - timedelta(days=days_between * (ROUNDS - round_))
        if round_ % 2 == 0:
            reports.append(Report(round_, beat, on, provider, reason=detail))
            continue
        step: Step = {"round": round_, "on": on.isoformat()}
        if detail.startswith("when "):
            step["when"] = detail.removeprefix("when ")
        elif detail == "provider-declined":
            step["when"] = "declined"
        kind, _, nth = beat.partition("/")
        if kind == "assign":
            provider = providers[int(nth) - 1]
            step |= {"act": "assign", "provider": provider}
        elif kind == "close":
            step |= {"act": "close", "reason": detail, "text": "The plan closed it"}
        else:
            step |= {"act": "decide", "status": kind, "number": f"GP-{number:04d}"}
            step["basis"] = "prior" if "when" in step else detail
            if kind == "denied":
                step["reason_text"] = _DENIED
            elif kind == "deferred":
                step["reason_text"] = "More information was asked for"
        steps.append(step)
    return steps, reports


def _end(steps: Sequence[Step], reports: Sequence[Report]) -> str:
    closed = [r.reason for r in reports if r.status == "loop-closed"]
    closed += [s["reason"] for s in steps if s["act"] == "close"]
    closed += ["authorization-denied" for s in steps if s.get("status") == "denied"]
    return closed[0] if closed else "open"


def _notices(steps: Sequence[Step], reports: Sequence[Report], *, every_status: bool) -> list[str]:
    """What the requester is told, round by round."""
    told: list[tuple[int, str]] = []
    for step in steps:
        match step:
            case {"act": "decide", "status": "pending" | "deferred"}:
                continue
            case {"act": "decide", "round": int(round_), "status": status}:
                told.append((round_, "authorization-decided"))
                if status == "denied":
                    told.append((round_, "loop-closed"))
            case {"act": "assign", "round": int(round_)}:
                told.append((round_, "provider-assigned"))
            case {"round": int(round_)}:
                told.append((round_, "loop-closed"))
    for report in reports:
        if report.status == "loop-closed":
            told.append((report.round, "loop-closed"))
        elif every_status:
            told.append((report.round, f"status-changed/{report.status}"))
    return [notice for _, notice in sorted(told, key=lambda pair: pair[0])]
