"""What a pretend partner got, one JSON object a line, on disk before it is answered.

The journal outlives the process: a line that was answered for is never missing, a half-written
last line was never answered for. Totals of a demo are computed from it, not from the bridge.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

JsonObject = dict[str, Any]


def now_utc() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


class Journal:
    """An append-only journal file; `entries` is what was written since the last reset."""

    def __init__(self, path: Path, *, clock: Callable[[], datetime] = now_utc) -> None:
        """Open or create the file, readable by its owner alone; what it holds already counts."""
        self.path = path
        self._clock = clock
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        _sync_folder(path.parent)
        held = _whole_lines(path.read_bytes())
        # A torn tail would swallow the next line.
        os.truncate(path, sum(len(line) for line in held))
        everything = [_parsed(line) for line in held]
        self._number = len(everything)
        self.entries = _since_reset(everything)

    def write(self, *lines: Mapping[str, Any]) -> None:
        """Append these lines with their number and time; they are on disk when this returns."""
        at = self._clock().isoformat(timespec="milliseconds")
        written: list[JsonObject] = []
        for line in lines:
            self._number += 1
            written.append({"n": self._number, "at": at, **line})
        data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in written).encode()
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)
        for line in written:
            if line.get("kind") == "reset":
                self.entries = []
            else:
                self.entries.append(line)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_journal(path: Path) -> list[JsonObject]:
    """Every whole line of a journal, in order; a torn last line is left out."""
    return [_parsed(line) for line in _whole_lines(path.read_bytes())]


def _whole_lines(data: bytes) -> list[bytes]:
    return [line for line in data.splitlines(keepends=True) if line.endswith(b"\n")]


def _parsed(line: bytes) -> JsonObject:
    entry = json.loads(line)
    if not isinstance(entry, dict):
        raise TypeError("A journal's line is not a JSON object.")
    return entry


def _since_reset(entries: list[JsonObject]) -> list[JsonObject]:
    for position in range(len(entries), 0, -1):
        if entries[position - 1].get("kind") == "reset":
            return entries[position:]
    return entries


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
