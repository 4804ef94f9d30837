from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

from fhir_hub_bridge.sandbox.journal import Journal, read_journal

NOON = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)


def test_a_line_is_in_the_file_when_write_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", clock=lambda: NOON)

    journal.write({"kind": "received", "notice": "N-1"}, {"kind": "received", "notice": "Ñ-2"})

    lines = (tmp_path / "journal.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[0]) == {
        "n": 1,
        "at": "2026-11-21T20:00:00.000+00:00",
        "kind": "received",
        "notice": "N-1",
    }
    assert [e["notice"] for e in read_journal(journal.path)] == ["N-1", "Ñ-2"]


def test_a_torn_last_line_is_left_out_and_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).write({"kind": "received", "notice": "N-1"})
    with path.open("ab") as file:
        file.write(b'{"kind": "received", "not')

    torn = read_journal(path)
    journal = Journal(path)
    journal.write({"kind": "received", "notice": "N-2"})

    assert [e["notice"] for e in torn] == ["N-1"]
    assert [(e["n"], e["notice"]) for e in read_journal(path)] == [(1, "N-1"), (2, "N-2")]
    assert len(journal.entries) == 2


def test_a_reset_empties_the_entries_but_not_the_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.write({"kind": "received"})
    journal.write({"kind": "reset"})
    journal.write({"kind": "read"})

    reopened = Journal(journal.path)

    assert [e["kind"] for e in journal.entries] == ["read"]
    assert [e["kind"] for e in reopened.entries] == ["read"]
    assert len(read_journal(journal.path)) == 3


def test_only_its_owner_may_read_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")

    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
