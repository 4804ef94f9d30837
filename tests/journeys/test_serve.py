"""`serve` and its worker as real processes: started, killed, stopped, sharing one SQLite file."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.postgres_server import PostgresServer
from tests.running import (
    PROGRAM,
    Serving,
    environment,
    eventually,
    is_alive,
    registered,
    run_command,
    serving,
)

from fhir_hub_bridge.sandbox.rtf_files import rtf_bytes
from fhir_hub_bridge.sandbox.synthetic import cast, referral_bundle, rtf_row
from fhir_hub_bridge.sandbox.synthetic.story import Report

TODAY = date(2026, 11, 20)
CAST = cast(today=TODAY)


class SlowServer:
    """A partner's FHIR server that takes its time; what it was sent."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.began: list[bytes] = []
        self.answered: list[bytes] = []
        outer = self

        class Answering(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.began.append(body)
                time.sleep(outer.seconds)
                answer = b'{"resourceType": "Bundle", "type": "transaction-response"}'
                self.send_response(200)
                self.send_header("Content-Type", "application/fhir+json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                outer.answered.append(body)

            def log_message(self, *_: Any) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self.base = f"http://127.0.0.1:{self._server.server_port}/fhir"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def partner() -> Iterator[SlowServer]:
    server = SlowServer()
    yield server
    server.close()


def referred(server: Serving, number: int = 0) -> str:
    """A referral of the clinic's, sent by FHIR; its Task's address."""
    answer = server.post(referral_bundle(CAST[number]), partner="river-clinic")
    assert answer.status_code == 200, answer.text
    locations = [entry["response"]["location"] for entry in answer.json()["entry"]]
    task = next(place for place in locations if place.startswith("Task/"))
    return task.partition("/_history")[0]


def denied(task: str, *, env: dict[str, str]) -> None:
    """The plan says no: two notices are owed."""
    done = run_command(
        "referral", "decide", task, "--status", "denied", "--reason", "made-up criteria", env=env
    )
    assert done.exit_code == 0, done.err


def notices(task: str, *, env: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run_command("referral", "show", task, "--json", env=env).json[
        "notices"
    ]
    return found


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


needs_proc = pytest.mark.skipif(not Path("/proc").exists(), reason="looks into /proc")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "only with --open"),
        (("--open", "--host", "0.0.0.0"), "--host must be 127.0.0.1"),  # noqa: S104  refused
        (("--open", "--host", "bridge.example"), "--host must be 127.0.0.1"),
        (("--host", "127.0.0.1"), "only with --open"),
    ],
)
def test_serve_refuses_to_listen_where_anybody_could_come(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = run_command("serve", *options, env=environment(tmp_path))

    assert done.exit_code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert done.out == ""


@pytest.mark.postgres
def test_serve_and_work_refuse_a_database_below_head(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    url = postgres_server.url(postgres_server.create_database())
    env = environment(tmp_path, database=url)

    served = run_command("serve", "--open", "--port", "0", env=env)
    worked = run_command("work", env=env)

    for done in (served, worked):
        assert done.exit_code == 2
        assert "fhir-hub-bridge db upgrade" in done.err
        assert "Traceback" not in done.err


def test_serve_is_ready_says_where_and_stops_when_asked(tmp_path: Path) -> None:
    env = environment(tmp_path)

    with serving(tmp_path, env=env) as server:
        pages = {path: server.get(path) for path in ("/console", "/healthz", "/fhir/metadata")}
        taken = run_command(
            "serve", "--open", "--port", str(server.fhir.split(":")[2][:-5]), env=env
        )
        worker = server.worker
        code = server.stop()

    assert [page.status_code for page in pages.values()] == [200, 200, 200]
    assert server.fhir in pages["/fhir/metadata"].text
    assert taken.exit_code == 2
    assert "--port" in taken.err
    assert code == 0
    assert not is_alive(worker)
    for line in server.log.read_text().splitlines():
        assert set(json.loads(line)) >= {"event", "level", "timestamp", "process"}


@needs_proc
def test_a_killed_worker_is_started_again_and_tells_what_is_owed(
    tmp_path: Path, partner: SlowServer
) -> None:
    env = registered(tmp_path, partner.base)

    with serving(tmp_path, env=env) as server:
        task = referred(server)
        os.kill(server.worker, signal.SIGKILL)
        denied(task, env=env)
        another = eventually(
            lambda: [pid for pid in children_of(server.process.pid) if pid != server.worker]
        )
        eventually(lambda: len(partner.answered) == 2)
        eventually(lambda: [n["state"] for n in notices(task, env=env)] == ["confirmed"] * 2)

    assert not is_alive(another[0])
    assert "The worker ended; another is started." in server.log.read_text()


@needs_proc
def test_a_worker_does_not_outlive_a_killed_serve(tmp_path: Path) -> None:
    with serving(tmp_path, env=environment(tmp_path)) as server:
        assert is_alive(server.worker)

        server.process.kill()
        server.process.wait(timeout=10)

        eventually(lambda: not is_alive(server.worker))


def test_stopping_finishes_a_send_that_has_begun(tmp_path: Path, partner: SlowServer) -> None:
    env = registered(tmp_path, partner.base)
    partner.seconds = 2.0

    with serving(tmp_path, env=env) as server:
        task = referred(server)
        denied(task, env=env)
        eventually(lambda: partner.began)
        server.stop()

    told = notices(task, env=env)
    assert [n["state"] for n in told] == ["confirmed", "pending"]
    assert told[1]["attempts"] == []
    assert len(partner.began) == len(partner.answered) == 1


def test_doors_without_workers_deliver_nothing_and_work_does(
    tmp_path: Path, partner: SlowServer
) -> None:
    env = registered(tmp_path, partner.base)

    with serving(tmp_path, "--no-workers", env=env) as server:
        assert server.ready["workers"] == []
        denied(referred(server), env=env)
        time.sleep(0.7)
        sent_by_doors = list(partner.began)
        worker = subprocess.Popen(
            [*PROGRAM, "work", "--only", "delivery"], env=env, stderr=subprocess.DEVNULL
        )
        eventually(lambda: len(partner.answered) == 2)
        worker.terminate()

        assert worker.wait(timeout=20) == 0
    assert sent_by_doors == []


def test_one_sqlite_file_takes_requests_and_an_import_at_the_same_time(
    tmp_path: Path, partner: SlowServer
) -> None:
    env = registered(tmp_path, partner.base)
    everybody = cast(seed=7, today=TODAY)
    rows = [
        rtf_row(entry, Report(2, "accepted", TODAY, "harbor-ecm"), produced_on=TODAY)[1]
        for seed in range(20, 30)
        for entry in cast(seed=seed, today=TODAY)
        if entry.service == "ecm"
    ]
    file = tmp_path / "rtf.csv"
    file.write_bytes(rtf_bytes("ecm", rows))

    with serving(tmp_path, env=env) as server, ThreadPoolExecutor(4) as pool:
        importing = pool.submit(
            run_command, "import", str(file), "--source", "rtf-ecm", "--unmatched", "open",
            "--as-of", "2026-11-20T12:00-08:00", "--json", env=env,
        )  # fmt: skip
        answers = [
            server.post(referral_bundle(entry), partner="river-clinic").status_code
            for entry in everybody
            if entry.requester == "river-clinic"
        ]
        imported = importing.result()

    assert set(answers) == {200}
    assert imported.err == ""
    assert imported.json["rows_recorded"] == imported.json["rows_read"] == len(rows)
    again = run_command(
        "import", str(file), "--source", "rtf-ecm", "--unmatched", "open",
        "--as-of", "2026-11-20T12:00-08:00", "--json", env=env,
    )  # fmt: skip
    assert again.json["rows_unchanged"] == len(rows)
    assert again.exit_code == 0
