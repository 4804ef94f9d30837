"""A pretend community care hub: writes Return Transmission Files and acknowledges dropped notices.

A notice file is `<name>.csv` with a column `notice_id`; for each notice in it the hub writes
`acknowledged/<notice id>.ack.json` with the file's SHA-256, unless a fault keeps it from doing so.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fhir_hub_bridge.sandbox.faults import Faults
from fhir_hub_bridge.sandbox.journal import Journal, JsonObject, now_utc
from fhir_hub_bridge.sandbox.rtf_files import RtfError, rtf_bytes, write_whole
from fhir_hub_bridge.sandbox.server import control_routes, open_journal, serve

logger = logging.getLogger(__name__)

_FILE_NAME = re.compile(r"[\w][\w.-]*\.csv")
_SAFE_ID = re.compile(r"[\w][\w.-]*")
# Copied to the journal where a notice file has them; nothing about a person is.
_FACTS = (
    "notice_type",
    "referral_id",
    "clr_id",
    "referral_status",
    "referral_status_date",
    "authorization_status",
    "closure_reason",
    "closure_date",
)
_CURL = (
    "curl {base}/_requests",
    """curl -X POST {base}/_faults -d '{"fault": "ack=never for=25s"}'""",
    """curl -X POST {base}/rtf -d '{"file": "rtf.csv", "service": "ecm", "rows": []}'""",
)


def app(
    *,
    journal: Journal,
    faults: Faults,
    out: Path,
    drops: Sequence[Path] = (),
    poll_seconds: float = 0.2,
) -> Starlette:
    """The hub as an ASGI application: files go to `out`, notices are looked for in `drops`."""
    drop_reader = DropReader(drops, journal=journal, faults=faults)

    async def rtf(request: Request) -> Response:
        try:
            order = await request.json()
            name, rows, warts = _file_name(order["file"]), order["rows"], order.get("warts", [])
            data = rtf_bytes(str(order["service"]), rows, warts=warts)
        except RtfError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except (ValueError, KeyError, TypeError, AttributeError):
            wanted = '{"file": "name.csv", "service": "ecm", "rows": [{...}], "warts": []}'
            return JSONResponse({"error": f"Send {wanted}."}, status_code=400)
        write_whole(out / name, data)
        sha256 = hashlib.sha256(data).hexdigest()
        line = {"kind": "written", "file": name, "rows": len(rows), "sha256": sha256}
        journal.write({**line, "warts": list(warts)})
        written = {"path": str((out / name).resolve()), "rows": len(rows), "sha256": sha256}
        return JSONResponse(written, status_code=201)

    @asynccontextmanager
    async def watching(_: Starlette) -> AsyncIterator[None]:
        watch = asyncio.create_task(_watch(drop_reader, poll_seconds=poll_seconds))
        yield
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch

    return Starlette(
        routes=[
            Route("/rtf", rtf, methods=["POST"]),
            *control_routes(journal, faults, reset=drop_reader.forget_notices),
        ],
        lifespan=watching,
    )


def run(
    *,
    port: int = 0,
    seed: int = 1,  # noqa: ARG001 - every partner has one; this one throws no dice
    journal: Path | None = None,
    fault: Sequence[str] = (),
    host: str = "127.0.0.1",
    out: Path = Path(),
    drop: Sequence[Path] = (),
    poll_seconds: float = 0.2,
) -> None:
    """Serve until stopped. Raises FaultSyntaxError, or OSError when the port is taken."""
    faults = Faults(fault)
    kept = open_journal("hub", journal)
    made = app(journal=kept, faults=faults, out=out, drops=drop, poll_seconds=poll_seconds)
    serve(made, host=host, port=port, journal=kept, curl=_CURL)


class DropReader:
    """Looks into drop folders and acknowledges each notice file once, however often it looks."""

    def __init__(self, drops: Sequence[Path], *, journal: Journal, faults: Faults) -> None:
        """What the journal already holds is not taken again."""
        self._drops = drops
        self._journal = journal
        self._faults = faults
        self._seen: set[tuple[str, str]] = set()
        self._told: dict[str, str] = {}
        for entry in journal.entries:
            if "mark" in entry:
                self._seen.add((entry["file"], entry["mark"]))
            if entry["kind"] in {"received", "duplicate"}:
                self._told.setdefault(entry["notice"], entry["sha256"])

    def forget_notices(self) -> None:
        """Start counting notices afresh; files seen stay seen."""
        self._told.clear()

    def look(self) -> None:
        """Take every complete notice file not taken yet, oldest first."""
        for drop in self._drops:
            for path in sorted(drop.glob("*.csv"), key=lambda p: p.stat().st_mtime_ns):
                stat = path.stat()
                # A file sent again has the old name but is a new file.
                seen = (str(path), f"{stat.st_ino}-{stat.st_mtime_ns}-{stat.st_size}")
                if seen not in self._seen:
                    self._take(path, mark=seen[1])
                    self._seen.add(seen)

    def _take(self, path: Path, *, mark: str) -> None:
        data = path.read_bytes()
        line = {"file": str(path), "mark": mark, "sha256": hashlib.sha256(data).hexdigest()}
        try:
            rows = _notice_rows(data)
        except csv.Error:
            rows = []
        if not rows:
            self._journal.write({"kind": "rejected", **line, "why": "no column notice_id, no rows"})
            return
        for row in rows:
            self._acknowledge(row, path=path, line=line)

    def _acknowledge(self, row: dict[str, str], *, path: Path, line: JsonObject) -> None:
        """Journal the notice, then acknowledge it: what is acknowledged is on disk."""
        notice = row["notice_id"]
        first = self._told.get(notice)
        fault = self._faults.take("ack", types=(path.parent.name,), identifiers=(notice,))
        repeated = {} if first is None else {"same_bytes": first == line["sha256"]}
        self._journal.write(
            {
                "kind": "received" if first is None else "duplicate",
                **line,
                "notice": notice,
                **{fact: row[fact] for fact in _FACTS if row.get(fact)},
                **repeated,
                "acknowledged": "yes" if fault is None else fault.value,
            }
        )
        self._told.setdefault(notice, line["sha256"])
        if fault is not None and fault.value == "never":
            return
        sha256 = line["sha256"] if fault is None else hashlib.sha256(b"another").hexdigest()
        receipt = {"notice": notice, "sha256": sha256, "received_at": now_utc().isoformat()}
        target = path.parent / "acknowledged" / f"{notice}.ack.json"
        write_whole(target, json.dumps(receipt).encode() + b"\n")


def _file_name(name: object) -> str:
    if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
        raise RtfError("The file's name is letters, digits, . _ - and ends in .csv.")
    return name


async def _watch(drop_reader: DropReader, *, poll_seconds: float) -> None:
    while True:
        try:
            drop_reader.look()
        except OSError:
            logger.exception("Looking into the drop folders failed; it is tried again.")
        await asyncio.sleep(poll_seconds)


def _notice_rows(data: bytes) -> list[dict[str, str]]:
    """The rows that name a notice whose id can be a file's name."""
    table = csv.DictReader(io.StringIO(data.decode("utf-8-sig", errors="replace"), newline=""))
    return [
        {k: v for k, v in row.items() if isinstance(k, str) and isinstance(v, str)}
        for row in table
        if _SAFE_ID.fullmatch(row.get("notice_id") or "")
    ]
