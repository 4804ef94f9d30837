"""Short words on a coloured ground; the word alone says it all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from fhir_hub_bridge.referral.lifecycle import standing
from fhir_hub_bridge.referral.model import Referral, ReferralStatus
from fhir_hub_bridge.referral.rulebook import Rulebook
from fhir_hub_bridge.web import words
from fhir_hub_bridge.web.times import local_date

Tone: TypeAlias = Literal["plain", "good", "wait", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A short word on a coloured ground; the word alone says it all."""

    text: str
    tone: Tone = "plain"


def standing_mark(referral: Referral, rulebook: Rulebook) -> Mark:
    """Where a referral stands, in words on a colour."""
    tones: dict[ReferralStatus | None, Tone] = {
        ReferralStatus.ACCEPTED: "good",
        ReferralStatus.OUTREACH_INITIATED: "wait",
        ReferralStatus.PENDING: "wait",
        ReferralStatus.DECLINED: "warn",
    }
    return Mark(
        words.standing(referral, rulebook), tones.get(standing(referral, rulebook), "plain")
    )


def due_mark(due_at: datetime, *, now: datetime) -> Mark | None:
    """Whether a pending notice is late or due today, in California."""
    if due_at < now:
        return Mark("late", "bad")
    if local_date(due_at) == local_date(now):
        return Mark("due today", "warn")
    return None
