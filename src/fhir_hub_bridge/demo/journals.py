"""What the partners say they got: their journals against the frozen messages, by id and SHA-256.

Pure. Nothing here asks our own tables how a notice stands.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Line = Mapping[str, Any]

OUTAGE_STATES: Final = ("Accepted", "Outreach Initiated", "Referral Loop Closed")


@dataclass(frozen=True, slots=True)
class Got:
    """What arrived. `strange` counts messages that we never froze, or with other bytes."""

    notices: frozenset[str]
    duplicates: int
    strange: int


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Every whole line of a journal; a torn last one was never answered for."""
    data = path.read_bytes() if path.exists() else b""
    lines = [line for line in data.splitlines(keepends=True) if line.endswith(b"\n")]
    return [json.loads(line) for line in lines]


def got(lines: Sequence[Line], *, frozen: Mapping[str, str]) -> Got:
    """Which of the frozen messages (notice id -> SHA-256) these journals hold, byte for byte."""
    taken = [line for line in lines if line["kind"] in ("received", "duplicate") and line["notice"]]
    ours = [line for line in taken if frozen.get(line["notice"]) == line["sha256"]]
    notices = frozenset(str(line["notice"]) for line in ours)
    return Got(notices, duplicates=len(ours) - len(notices), strange=len(taken) - len(ours))


def lost(got_: Got, *, due: Collection[str]) -> list[str]:
    """The notices that had to arrive and did not."""
    return sorted(set(due) - got_.notices)


def states_told(lines: Sequence[Line], referral: str, *, frozen: Mapping[str, str]) -> list[str]:
    """The referral statuses that the partner was told of this referral, first copies, in order."""
    told: list[str] = []
    seen: set[str] = set()
    for line in lines:
        notice = line.get("notice")
        if line["kind"] != "received" or line.get("referral") != referral or notice in seen:
            continue
        if frozen.get(str(notice)) != line["sha256"]:
            continue
        seen.add(str(notice))
        told += [word for word in line["status_words"] if word in OUTAGE_STATES][:1]
    return told


def turned_away(lines: Sequence[Line], referral: str) -> int:
    """How many tries of this referral's notices the partner refused."""
    return sum(1 for e in lines if e["kind"] == "refused" and e.get("referral") == referral)
