"""Logs: one JSON object a line on standard error, its fields by allow-list, set up once a process.

What is not on the list is dropped, and a failure is named by its class and place, never by its
text: nothing about a member can come out here. Before: `cli`. Who logs just calls structlog.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any, Final, TextIO

import structlog

FIELDS: Final = frozenset(
    {
        # every line
        "event", "level", "timestamp", "process", "logger",
        # which thing, by ids that say nothing of a person
        "attempt", "file_id", "interaction", "method", "notice_id", "partner", "pid",
        "referral_id", "request_id", "rows",
        # what came of it
        "at", "decision", "error", "exit_code", "lease_kept", "outcome", "pause_seconds",
        "port", "seconds", "signal", "status", "where",
    }
)  # fmt: skip
"""The names a line may have. A new one is added here, after asking what could stand in it."""

_LONGEST: Final = 200  # characters of one value


def set_up_logs(*, process: str, to: TextIO | None = None) -> None:
    """Send every log of this process to `to` (default: standard error) as JSON lines.

    `process` names the kind of process on every line. Foreign libraries' warnings come too, by
    their sentence before anything is put into it.
    """
    out = to or sys.stderr
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _named_failure,
            _Marked(process),
            _only_allowed,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_ToStructlog()], level=logging.WARNING, force=True)


def places_of(trace: TracebackType | None, *, last: int = 6) -> list[str]:
    """Where a failure came through, innermost last, as `module.py:12`."""
    frames = traceback.extract_tb(trace)[-last:]
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames]


class _Marked:
    """Puts the process's name on every line."""

    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(
        self, _logger: Any, _method: str, line: MutableMapping[str, Any]
    ) -> Mapping[str, Any]:
        return {**line, "process": self._process}


def _named_failure(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """An exception's class and places, in the place of its text."""
    given = line.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given
    if isinstance(error, tuple):
        error = error[1]
    if not isinstance(error, BaseException):
        return line
    return {**line, "error": type(error).__name__, "at": places_of(error.__traceback__)}


def _only_allowed(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {name: _plain(value) for name, value in line.items() if name in FIELDS}


def _plain(value: object) -> object:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return value[:_LONGEST]
        case list() | tuple():
            return [_plain(part) for part in value[:20]]
        case _:
            return type(value).__name__


class _ToStructlog(logging.Handler):
    """What libraries log by the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        # The template without its arguments, and one line of it: both may quote what was sent.
        sentence = str(record.msg).partition("\n")[0]
        told = structlog.get_logger().bind(logger=record.name)
        told.log(record.levelno, sentence, exc_info=record.exc_info)
