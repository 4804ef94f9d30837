"""Pretend partners as a user starts them: own processes, real sockets, real faults."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

Start = Callable[..., "Partner"]


class Partner:
    def __init__(self, folder: Path, role: str, *options: str) -> None:
        self.journal = folder / f"{role}.jsonl"
        command = [sys.executable, "-m", "fhir_hub_bridge.sandbox", role, "--port", "0"]
        command += ["--journal", str(self.journal), *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline().strip()
        self.base = self.ready.removeprefix("ready ")

    def post(self, path: str, document: Any, *, seconds: float = 5) -> httpx.Response:
        with httpx.Client(timeout=seconds, trust_env=False) as client:
            return client.post(self.base + path, content=json.dumps(document).encode())

    def fault(self, text: str) -> None:
        assert self.post("/_faults", {"fault": text}).status_code == 201

    def lines(self, *kinds: str) -> list[dict[str, Any]]:
        everything = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return [e for e in everything if e["kind"] in kinds]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=5)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Partner] = []

    def _start(role: str, *options: str) -> Partner:
        started.append(Partner(tmp_path, role, *options))
        return started[-1]

    yield _start
    for partner in started:
        partner.stop()


def notice(id_: str) -> dict[str, Any]:
    communication = {
        "resourceType": "Communication",
        "identifier": [{"system": "urn:notices", "value": id_}],
        "status": "in-progress",
        "payload": [{"contentString": "Referral R-0001: Accepted"}],
    }
    request = {"method": "PUT", "url": f"Communication?identifier=urn:notices|{id_}"}
    entry = [{"resource": communication, "request": request}]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entry}


def test_a_referring_entity_fails_in_every_way_and_its_journal_tells(start: Start) -> None:
    ehr = start("referring-entity", "--seed", "4", "--fault", "answer=503 times=1 on=Communication")

    refused = ehr.post("/fhir", notice("N-503"))
    taken = ehr.post("/fhir", notice("N-503"))
    ehr.fault("answer=lost times=1")
    with pytest.raises(httpx.RemoteProtocolError):
        ehr.post("/fhir", notice("N-lost"))
    again = ehr.post("/fhir", notice("N-lost"))
    ehr.fault("answer=timeout for=1s")
    with pytest.raises(httpx.ReadTimeout):
        ehr.post("/fhir", notice("N-slow"), seconds=0.2)
    with pytest.raises(httpx.RemoteProtocolError):
        ehr.post("/fhir", notice("N-slow"))
    slow = ehr.post("/fhir", notice("N-slow"))
    ehr.fault("answer=garbage times=1")
    garbage = ehr.post("/fhir", notice("N-garbage"))
    ehr.fault("answer=refused times=1")
    no = ehr.post("/fhir", notice("N-no"))
    ehr.fault("answer=twice times=1")
    twice = ehr.post("/fhir", notice("N-twice"))

    assert re.fullmatch(r"ready http://127\.0\.0\.1:\d+", ehr.ready)
    statuses = [r.status_code for r in (refused, taken, again, slow, garbage, no, twice)]
    assert statuses == [503, 200, 200, 200, 200, 400, 200]
    assert [e["notice"] for e in ehr.lines("received")] == ["N-503", "N-lost", "N-slow", "N-twice"]
    assert [e["notice"] for e in ehr.lines("duplicate")] == ["N-lost", "N-twice"]
    assert [e["answer"] for e in ehr.lines("refused")] == [
        "503", "timeout", "timeout", "garbage", "refused",
    ]  # fmt: skip
    assert all(e["same_bytes"] for e in ehr.lines("duplicate"))


def test_what_was_answered_is_in_the_journal_of_a_killed_process(start: Start) -> None:
    ehr = start("referring-entity")

    ehr.post("/fhir", notice("N-1"))
    ehr.process.kill()
    ehr.process.wait(timeout=5)

    assert [e["notice"] for e in ehr.lines("received")] == ["N-1"]


def test_a_hub_acknowledges_what_is_dropped_while_it_runs(start: Start, tmp_path: Path) -> None:
    drop = tmp_path / "drop"
    drop.mkdir()
    hub = start(
        "hub", "--out", str(tmp_path / "out"), "--drop", str(drop), "--poll-seconds", "0.05"
    )
    receipt = drop / "acknowledged" / "N-1.ack.json"

    written = hub.post("/rtf", {"file": "a.csv", "service": "cs", "rows": []})
    part = drop / "N-1.csv.part"
    part.write_bytes(b"notice_id\r\nN-1\r\n")
    part.replace(drop / "N-1.csv")
    deadline = time.monotonic() + 5
    while not receipt.exists() and time.monotonic() < deadline:
        time.sleep(0.02)

    assert written.status_code == 201
    assert json.loads(receipt.read_text())["notice"] == "N-1"


def test_a_plan_starts_and_says_when_it_has_no_bridge(start: Start) -> None:
    plan = start("plan")

    answer = plan.post("/act", {"identifier": "R-0001", "steps": []})

    assert answer.status_code == 400
    assert "--bridge" in answer.json()["error"]


def test_wrong_use_exits_with_2_and_a_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fhir_hub_bridge.sandbox", "hub", "--fault", "answer=perhaps"],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )

    assert done.returncode == 2
    assert "answer=perhaps" in done.stderr
