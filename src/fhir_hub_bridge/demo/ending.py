"""How it ended beside what the script expects: every loop, every notice, by name.

The store is read once and compared in plain values; a difference is a sentence, not an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhir_hub_bridge.referral.model import NoticeType, Report
from fhir_hub_bridge.store.notice_records import NoticeRecord, notices_of
from fhir_hub_bridge.store.referrals import events_of, load
from fhir_hub_bridge.store.unit import Connection


@dataclass(frozen=True, slots=True)
class Stands:
    """One referral as it stands: why it is closed ("" while open), its notices by name."""

    closed_for: str
    notices: tuple[tuple[str, NoticeRecord], ...]


def stands(conn: Connection, referral_ids: Mapping[str, str]) -> dict[str, Stands]:
    """How these referrals stand (name in the script -> our id)."""
    return {name: _stands(conn, id_) for name, id_ in referral_ids.items()}


def differences(script: Sequence[Mapping[str, Any]], found: Mapping[str, Stands]) -> list[str]:
    """What is not (yet) as the script expects, a sentence each."""
    told: list[str] = []
    for expected in script:
        name = expected["identifier"]
        if name not in found:
            told.append(f"{name} was not taken.")
            continue
        told += _differences(expected, found[name])
    return told


def closed_as_expected(script: Sequence[Mapping[str, Any]], found: Mapping[str, Stands]) -> int:
    """How many closed-loop referrals that should close are closed, for the reason expected."""
    return sum(
        1
        for expected in script
        if should_close(expected)
        and expected["identifier"] in found
        and found[expected["identifier"]].closed_for == expected["expected_end"]
    )


def should_close(expected: Mapping[str, Any]) -> bool:
    """Whether this is a closed-loop referral that the script closes."""
    return bool(expected["is_closed_loop"]) and expected["expected_end"] != "open"


def _stands(conn: Connection, referral_id: str) -> Stands:
    referral = load(conn, referral_id).referral
    acts = {event.number: event.act for event in events_of(conn, referral_id)}
    named: list[tuple[str, NoticeRecord]] = []
    for notice in notices_of(conn, referral_id):
        act = acts.get(notice.event_number)
        name = notice.type
        if notice.type == NoticeType.STATUS_CHANGED and isinstance(act, Report):
            name = f"{notice.type}/{act.status.value}"
        named.append((name, notice))
    return Stands(referral.closure.reason if referral.closure else "", tuple(named))


def _differences(expected: Mapping[str, Any], found: Stands) -> list[str]:
    name, end = expected["identifier"], expected["expected_end"]
    told: list[str] = []
    wanted = "" if end == "open" else end
    if found.closed_for != wanted:
        told.append(f"{name} is closed for '{found.closed_for}', its script expects '{wanted}'.")
    names = [notice_name for notice_name, _ in found.notices]
    if names != expected["expected_notices"]:
        owed = ", ".join(names) or "none"
        told.append(
            f"{name} owes {owed}; its script expects {', '.join(expected['expected_notices'])}."
        )
    for notice_name, notice in found.notices:
        stands_as = _end_of(notice)
        if stands_as != expected["notices_end"]:
            told.append(
                f"{name}: {notice_name} is {stands_as}, its script expects "
                f"{expected['notices_end']}."
            )
    return told


def _end_of(notice: NoticeRecord) -> str:
    if notice.state == "pending" and notice.escalated_at is not None:
        return "escalated"
    return notice.state
