"""How much each partner has in hand, so that one in trouble takes nobody else's turn.

A partner that gave no answer several times running gets one notice at a time, with rests between;
its first answer opens it again. Time is an argument (seconds of any steady clock).
Used by `dispatch` alone; each worker process learns for itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import Final

_TROUBLE: Final = 3  # answers missing in a row
_REST: Final = 0.5  # seconds; doubled with each further one
_REST_AT_MOST: Final = 10.0


class PartnerLoad:
    """The notices a worker holds, by recipient, and which recipients do not answer."""

    def __init__(self, *, at_once: int) -> None:
        """`at_once` sends to one partner go on at the same time."""
        self._at_once = at_once
        self._held: Counter[str] = Counter()
        self._silent: Counter[str] = Counter()  # answers missing in a row
        self._rests_until: dict[str, float] = {}
        self.turns: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(at_once)
        )

    def full(self, now: float) -> set[str]:
        """The recipients that nothing is to be claimed for now."""
        return {r for r in self._held | self._silent if not self._has_room(r, now)}

    def keep(self, recipient: str, now: float) -> bool:
        """Take one notice in hand; False when a partner in trouble has one already or rests."""
        if self._in_trouble(recipient) and not self._has_room(recipient, now):
            return False
        self._held[recipient] += 1
        return True

    def let_go(self, recipient: str) -> None:
        """One notice less in hand."""
        self._held[recipient] -= 1

    def answered(self, recipient: str) -> bool:
        """It said something; True when it had been in trouble."""
        was_in_trouble = self._in_trouble(recipient)
        self._silent.pop(recipient, None)
        self._rests_until.pop(recipient, None)
        return was_in_trouble

    def was_silent(self, recipient: str, now: float) -> None:
        """It gave no answer. Those already on their way when it fell silent count once."""
        if now < self._rests_until.get(recipient, now):
            return
        self._silent[recipient] += 1
        if self._in_trouble(recipient):
            times = min(self._silent[recipient] - _TROUBLE, 10)
            self._rests_until[recipient] = now + min(_REST * 2**times, _REST_AT_MOST)

    def _in_trouble(self, recipient: str) -> bool:
        return self._silent[recipient] >= _TROUBLE

    def _has_room(self, recipient: str, now: float) -> bool:
        if self._in_trouble(recipient):
            return not self._held[recipient] and now >= self._rests_until[recipient]
        # One batch may wait in hand behind those being sent, so that claims stay large.
        return self._held[recipient] <= self._at_once
