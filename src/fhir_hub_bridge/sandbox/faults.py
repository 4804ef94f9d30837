"""The fault language: what a pretend partner does wrong, to what, and for how long.

`answer=503 retry-after=2 for=25s on=Task` is one fault. It lasts for a time (`for=`), a number of
requests (`times=`), whichever ends first, or until it is taken away.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

Kind = Literal["answer", "ack", "act"]

_VALUES: dict[Kind, tuple[str, ...]] = {
    "answer": ("timeout", "twice", "lost", "garbage", "refused"),
    "ack": ("never", "wrong-sha"),
    "act": ("twice", "stale"),
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class FaultSyntaxError(ValueError):
    """The text is no fault of the fault language."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `value` of an answer is an HTTP status or one of the words."""

    text: str
    kind: Kind
    value: str
    on: str = "*"
    identifier: str = ""
    lasts_seconds: float | None = None
    times: int | None = None
    retry_after_seconds: int | None = None

    @property
    def status(self) -> int | None:
        """The HTTP status to answer with, where the fault is one."""
        return int(self.value) if self.value.isdigit() else None

    def is_about(self, *, types: Collection[str], identifiers: Collection[str]) -> bool:
        """Whether a request with these resource types and identifier values is meant."""
        return (self.on == "*" or self.on.lower() in {t.lower() for t in types}) and (
            not self.identifier or self.identifier in identifiers
        )


def parse_fault(text: str) -> Fault:
    """Read one fault, as `answer=503 for=25s on=Task`.

    Durations are `500ms`, `25s`, `2m`, `1h`; a bare number is seconds.
    Raises FaultSyntaxError with a sentence that says what is allowed.
    """
    words: dict[str, str] = {}
    for word in text.split():
        key, _, value = word.partition("=")
        if not value or key in words:
            raise FaultSyntaxError(f"'{word}' is not one key=value, as in answer=503 for=25s.")
        words[key] = value
    kind, value = _what(words)
    fault = Fault(
        text=text,
        kind=kind,
        value=value,
        on=words.pop("on", "*"),
        identifier=words.pop("id", ""),
        lasts_seconds=_seconds(words.pop("for")) if "for" in words else None,
        times=_count(words.pop("times"), "times") if "times" in words else None,
        retry_after_seconds=(
            _count(words.pop("retry-after").removesuffix("s"), "retry-after")
            if "retry-after" in words
            else None
        ),
    )
    if words:
        raise FaultSyntaxError(
            f"'{next(iter(words))}' is unknown; a fault takes for, times, on, id, retry-after."
        )
    return fault


class Faults:
    """The faults that are on. Time is counted from the moment a fault is started."""

    def __init__(
        self, texts: Collection[str] = (), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start the faults given. Raises FaultSyntaxError."""
        self._clock = clock
        self._live: list[_Live] = []
        for text in texts:
            self.start(text)

    def start(self, text: str) -> Fault:
        """Put one more fault on. Raises FaultSyntaxError."""
        fault = parse_fault(text)
        ends = None if fault.lasts_seconds is None else self._clock() + fault.lasts_seconds
        self._live.append(_Live(fault, ends_at=ends, times_left=fault.times))
        return fault

    def stop_all(self) -> None:
        """Take all faults away."""
        self._live.clear()

    def take(
        self, kind: Kind, *, types: Collection[str] = (), identifiers: Collection[str] = ()
    ) -> Fault | None:
        """The fault that strikes this request, the oldest first; one of its times is used up."""
        self._forget_ended()
        for live in self._live:
            if live.fault.kind == kind and live.fault.is_about(
                types=types, identifiers=identifiers
            ):
                if live.times_left is not None:
                    live.times_left -= 1
                return live.fault
        return None

    def listed(self) -> list[str]:
        """The faults that are on, as they were written."""
        self._forget_ended()
        return [live.fault.text for live in self._live]

    def _forget_ended(self) -> None:
        now = self._clock()
        self._live = [
            live
            for live in self._live
            if (live.ends_at is None or now < live.ends_at) and live.times_left != 0
        ]


@dataclass(slots=True)
class _Live:
    fault: Fault
    ends_at: float | None
    times_left: int | None


def _what(words: dict[str, str]) -> tuple[Kind, str]:
    for kind, values in _VALUES.items():
        if kind in words:
            value = words.pop(kind)
            is_status = kind == "answer" and value.isdigit() and 300 <= int(value) <= 599
            if value not in values and not is_status:
                also = "a status 300 to 599, " if kind == "answer" else ""
                raise FaultSyntaxError(f"{kind}={value}: allowed are {also}{', '.join(values)}.")
            return kind, value
    raise FaultSyntaxError("A fault says answer=, ack= or act=, as in answer=503 for=25s on=Task.")


def _seconds(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise FaultSyntaxError(f"'{text}' is no duration, as in 500ms, 25s, 2m.")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def _count(text: str, key: str) -> int:
    if not text.isdigit():
        raise FaultSyntaxError(f"{key}={text} is not a whole number.")
    return int(text)
