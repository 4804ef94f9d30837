"""Named points where a test may end the process, to prove that nothing is lost there.

`fault("K8")` does nothing unless this very process armed K8, which only tests do: no setting, no
environment variable and no request reaches `arm`. The points are those of the reliability tests;
`delivery.dispatch`, `connectors.fhir_peer` and `store.outbox` name them where they lie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

POINTS: Final = {
    "K6": "a notice is leased, nothing has begun",
    "K7": "connected to the partner, nothing sent",
    "K8": "half of the body sent",
    "K9": "all sent, the partner's answer unread",
    "K10": "the answer read, not recorded",
    "K11": "recorded inside the transaction, not committed",
    "K12": "recorded and committed",
}

_armed: dict[str, Callable[[], None]] = {}


def fault(point: str) -> None:
    """Do what was armed for this point; without arming, nothing."""
    if _armed and (action := _armed.get(point)):
        action()


def arm(point: str, action: Callable[[], None]) -> None:
    """From now on do `action` whenever this process passes `point`. Raises KeyError for others."""
    POINTS[point]
    _armed[point] = action


def disarm() -> None:
    """Forget all that was armed."""
    _armed.clear()
