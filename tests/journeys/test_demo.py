"""The demo as a newcomer runs it, on both databases: its laws hold, and nothing outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.running import PROGRAM, environment, eventually, run_command

OUTAGE = ["Accepted", "Outreach Initiated", "Referral Loop Closed"]


def journal(totals: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(totals["journal_path"]).read_text().splitlines()]


def children_of(folder: Path) -> list[str]:
    """The command lines of processes whose temporary folder is this one."""
    found: list[str] = []
    for process in Path("/proc").iterdir():
        try:
            if f"TMPDIR={folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def test_every_loop_closes_and_every_notice_comes_to_its_end(
    database_url: str, tmp_path: Path
) -> None:
    env = environment(tmp_path) | {"TMPDIR": str(tmp_path)}

    done = run_command(
        "demo", "--once", "--fast", "--json", "--database", database_url, env=env, seconds=120
    )
    again = run_command("demo", "--once", "--json", "--database", database_url, env=env)

    totals = done.json
    assert done.exit_code == 0, totals["problems"]
    assert totals["loops_total"] >= 25
    assert totals["loops_closed"] == totals["loops_expected_closed"] >= 20
    assert totals["notices_lost"] == 0
    assert totals["notices_owed"] == (
        totals["notices_confirmed"] + totals["notices_withheld"] + totals["notices_pending"]
    )
    assert totals["notices_pending"] == totals["notices_escalated"] >= 1
    assert totals["notices_withheld"] >= 1
    assert totals["duplicates_received"] >= 1
    assert totals["rows_read"] == sum(
        totals[f"rows_{outcome}"] for outcome in ("recorded", "unchanged", "review", "rejected")
    )
    assert min(totals["rows_unchanged"], totals["rows_review"], totals["rows_rejected"]) >= 1
    assert totals["outage_states_delivered"] == 3
    assert totals["memory_mib"] > 0
    told = [
        word
        for line in journal(totals)
        if line["kind"] == "received" and line.get("referral") == "R-0001"
        for word in line["status_words"][:1]
    ]
    assert [word for word in told if word in OUTAGE] == OUTAGE
    assert all(line["same_bytes"] for line in journal(totals) if line["kind"] == "duplicate")
    assert again.exit_code == 2
    assert "without referrals" in again.err


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_no_process_outlives_the_demo(tmp_path: Path, sent: signal.Signals) -> None:
    env = environment(tmp_path) | {"TMPDIR": str(tmp_path)}
    demo = subprocess.Popen(
        [*PROGRAM, "demo"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    # serve with its worker, and three pretend partners beside the demo itself
    eventually(lambda: len(children_of(tmp_path)) >= 6, seconds=30)

    os.kill(demo.pid, sent)
    demo.wait(timeout=30)

    eventually(lambda: not children_of(tmp_path), seconds=30)
