"""What every channel to a partner is: it takes a frozen message and says what came back.

An answer is a value, never an exception: a partner in trouble is an ordinary day. The exemplary
connector is `fhir_peer`; `delivery.decision` judges the answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from fhir_hub_bridge.referral.parties import Agreement


@dataclass(frozen=True, slots=True)
class Message:
    """A notice as it leaves: the bytes frozen at commit, the same on every try."""

    notice_id: str
    body: bytes
    media_type: str
    sha256: str  # of `body`, hexadecimal


@dataclass(frozen=True, slots=True)
class Accepted:
    """Their server took it and said so."""

    status: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """It lies where they fetch it; nobody has said anything yet."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Received:
    """They acknowledged these very bytes."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No definite answer: they may or may not have it. `retry_after` is their own wish."""

    detail: str
    status: int | None = None
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A definite no."""

    detail: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Unsendable:
    """Nothing was sent: it cannot go this way until a person changes something on our side."""

    detail: str


# `detail` is in our own words and never repeats a partner's text, which may speak of a member.
Answer: TypeAlias = Accepted | Sent | Received | Unavailable | Refused | Unsendable


class Connector(Protocol):
    """A channel to partners. One instance serves all partners of a process."""

    async def send(self, message: Message, *, agreement: Agreement, now: datetime) -> Answer:
        """Send the message once to where the agreement says; at most one total deadline long.

        `now` is aware; it is what a partner's absolute times are measured from.
        """
