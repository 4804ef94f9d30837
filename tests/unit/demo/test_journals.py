"""The demo's totals are counted from what partners wrote down, by notice id and SHA-256."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fhir_hub_bridge.demo.journals import got, lost, read_lines, states_told, turned_away

FROZEN = {"N-1": "aa", "N-2": "bb", "N-3": "cc"}


def a_line(notice: str | None, sha256: str, kind: str = "received", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "notice": notice, "sha256": sha256, **more}


def test_a_notice_arrived_only_with_the_bytes_that_were_frozen() -> None:
    lines = [a_line("N-1", "aa"), a_line("N-2", "not these"), a_line("N-9", "aa")]

    arrived = got(lines, frozen=FROZEN)

    assert arrived.notices == {"N-1"}
    assert arrived.strange == 2
    assert lost(arrived, due=FROZEN) == ["N-2", "N-3"]


def test_copies_beyond_the_first_are_duplicates() -> None:
    lines = [a_line("N-1", "aa"), a_line("N-1", "aa", "duplicate"), a_line("N-2", "bb")]

    arrived = got(lines, frozen=FROZEN)

    assert arrived.duplicates == 1
    assert arrived.strange == 0


def test_what_was_refused_or_said_nothing_has_not_arrived() -> None:
    lines = [a_line("N-1", "aa", "refused"), a_line(None, "bb")]

    arrived = got(lines, frozen=FROZEN)

    assert not arrived.notices


def test_states_are_read_from_first_copies_of_one_referral_in_order() -> None:
    lines = [
        a_line("N-0", "zz", referral="R-1", status_words=["approved"]),
        a_line("N-1", "aa", "refused", referral="R-1", status_words=["Accepted"]),
        a_line("N-1", "aa", referral="R-1", status_words=["Accepted"]),
        a_line("N-2", "bb", referral="R-2", status_words=["Accepted"]),
        a_line("N-1", "aa", "duplicate", referral="R-1", status_words=["Accepted"]),
        a_line("N-3", "cc", referral="R-1", status_words=["Referral Loop Closed", "Accepted"]),
    ]

    told = states_told(lines, "R-1", frozen=FROZEN | {"N-0": "zz"})

    assert told == ["Accepted", "Referral Loop Closed"]
    assert turned_away(lines, "R-1") == 1


def test_a_torn_last_line_was_never_answered_for(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"kind": "received"}\n{"kind": "rec')

    assert read_lines(path) == [{"kind": "received"}]
    assert read_lines(tmp_path / "none.jsonl") == []
