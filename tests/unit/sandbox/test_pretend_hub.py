from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path

import httpx
import pytest

from fhir_hub_bridge.sandbox.faults import Faults
from fhir_hub_bridge.sandbox.hub import DropReader, app
from fhir_hub_bridge.sandbox.journal import Journal, read_journal
from fhir_hub_bridge.sandbox.rtf_files import CIN, HEADINGS, STATUS_DATE, RtfError, rtf_bytes

ROW = {CIN: "90000001A", "Member First Name": "Ejémplo", STATUS_DATE: "11/21/2026"}
NOTICE = b"notice_id,referral_status\r\nN-1,accepted\r\n"


def parsed(data: bytes, encoding: str = "utf-8", delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(data.decode(encoding).splitlines(), delimiter=delimiter))


def test_a_file_has_the_vendors_headings_and_the_three_closed_loop_elements() -> None:
    header, row = parsed(rtf_bytes("ecm", [ROW]))

    assert len(header) == 41
    assert header[-3:] == [
        "Referral Status",
        "Date of Referral Status Update",
        "Reason for Referral Loop Closure",
    ]
    assert dict(zip(header, row, strict=True))[CIN] == "90000001A"
    assert row.count("") == 38


def test_the_community_supports_file_names_its_service_and_has_no_ecm_columns() -> None:
    [header] = parsed(rtf_bytes("cs", []))

    assert {"Community Supports Service", "HCPCS Code", "Modifiers"} <= set(header)
    assert not [heading for heading in header if "ECM" in heading]
    assert tuple(header) == HEADINGS["cs"]


def test_each_wart_spoils_the_file_in_its_way() -> None:
    clean = rtf_bytes("ecm", [ROW, ROW])

    assert rtf_bytes("ecm", [ROW], warts=["bom"]).startswith(b"\xef\xbb\xbf")
    assert "Ejémplo" in rtf_bytes("ecm", [ROW], warts=["cp1252"]).decode("cp1252")
    assert len(parsed(rtf_bytes("ecm", [ROW], warts=["semicolon"]), delimiter=";")[0]) == 41
    assert rtf_bytes("ecm", [ROW], warts=["title-row"]).startswith(b"Return Transmission File")
    assert CIN not in parsed(rtf_bytes("ecm", [ROW], warts=["wrong-header"]))[0]
    assert "90000001a" in rtf_bytes("ecm", [ROW], warts=["lowercase-cin"]).decode()
    assert "46347" in parsed(rtf_bytes("ecm", [ROW], warts=["excel-dates"]))[1]
    half = rtf_bytes("ecm", [ROW, ROW], warts=["half-line"])
    assert clean.startswith(half)
    assert half.count(b"\r\n") == 2
    assert not half.endswith(b"\n")


@pytest.mark.parametrize(
    ("service", "rows", "warts"),
    [
        ("mif", [], []),
        ("ecm", [{"No such column": "x"}], []),
        ("ecm", [], ["mould"]),
        ("ecm", [], ["bom", "cp1252"]),
    ],
)
def test_an_order_for_no_such_file_is_refused(
    service: str, rows: list[dict[str, str]], warts: list[str]
) -> None:
    with pytest.raises(RtfError):
        rtf_bytes(service, rows, warts=warts)


async def test_a_file_is_written_whole_where_asked(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "hub.jsonl")
    made = app(journal=journal, faults=Faults(), out=tmp_path / "out")
    transport = httpx.ASGITransport(app=made)
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as http:
        order = {"file": "november.csv", "service": "ecm", "rows": [ROW], "warts": ["bom"]}
        answer = await http.post("/rtf", json=order)
        outside = await http.post("/rtf", json={**order, "file": "../november.csv"})
        wrong = await http.post("/rtf", json={**order, "rows": [{"No such column": "x"}]})
        empty = await http.post("/rtf", content=b"")

    written = Path(answer.json()["path"])
    assert answer.status_code == 201
    assert answer.json()["sha256"] == hashlib.sha256(written.read_bytes()).hexdigest()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["november.csv"]
    assert (outside.status_code, wrong.status_code, empty.status_code) == (400, 400, 400)
    assert "No such column" in wrong.json()["error"]
    assert [e["kind"] for e in journal.entries] == ["written"]


class Drop:
    """A drop folder, somebody who drops into it, and a hub that looks."""

    def __init__(self, folder: Path, *faults: str) -> None:
        self.folder = folder / "drop"
        self.folder.mkdir(exist_ok=True)
        self.journal = folder / "hub.jsonl"
        self.hub = DropReader([self.folder], journal=Journal(self.journal), faults=Faults(faults))

    def put(self, data: bytes = NOTICE, name: str = "N-1.csv") -> None:
        part = self.folder / f"{name}.part"
        part.write_bytes(data)
        part.replace(self.folder / name)

    def receipt(self, notice: str = "N-1") -> dict[str, str] | None:
        path = self.folder / "acknowledged" / f"{notice}.ack.json"
        return json.loads(path.read_text()) if path.exists() else None

    def kinds(self) -> list[str]:
        return [e["kind"] for e in read_journal(self.journal)]


def test_a_dropped_notice_is_acknowledged_with_the_digest_of_its_file(tmp_path: Path) -> None:
    drop = Drop(tmp_path)
    drop.put()

    drop.hub.look()
    drop.hub.look()

    receipt = drop.receipt()
    assert receipt is not None
    assert receipt["notice"] == "N-1"
    assert receipt["sha256"] == hashlib.sha256(NOTICE).hexdigest()
    assert receipt["received_at"].endswith("+00:00")
    [line] = read_journal(drop.journal)
    assert (line["kind"], line["notice"], line["acknowledged"]) == ("received", "N-1", "yes")
    assert line["referral_status"] == "accepted"
    assert [p.name for p in (drop.folder / "acknowledged").iterdir()] == ["N-1.ack.json"]


def test_a_half_written_file_is_left_alone(tmp_path: Path) -> None:
    drop = Drop(tmp_path)
    (drop.folder / "N-1.csv.part").write_bytes(NOTICE[:12])

    drop.hub.look()

    assert drop.receipt() is None
    assert drop.kinds() == []


def test_a_file_sent_again_is_a_duplicate_and_acknowledged_again(tmp_path: Path) -> None:
    drop = Drop(tmp_path, "ack=never times=1")
    drop.put()
    drop.hub.look()
    unanswered = drop.receipt()

    drop.put()
    drop.hub.look()

    assert unanswered is None
    assert drop.receipt() is not None
    assert drop.kinds() == ["received", "duplicate"]
    assert read_journal(drop.journal)[1]["same_bytes"] is True


def test_a_wrong_digest_is_acknowledged_when_asked_for(tmp_path: Path) -> None:
    drop = Drop(tmp_path, "ack=wrong-sha id=N-1")
    drop.put()

    drop.hub.look()

    receipt = drop.receipt()
    assert receipt is not None
    assert receipt["sha256"] != hashlib.sha256(NOTICE).hexdigest()


def test_after_a_restart_nothing_is_taken_twice(tmp_path: Path) -> None:
    first = Drop(tmp_path)
    first.put()
    first.hub.look()

    Drop(tmp_path).hub.look()

    assert first.kinds() == ["received"]


@pytest.mark.parametrize("data", [b"", b"id\r\n1\r\n", b"notice_id\r\n../../x\r\n"])
def test_a_file_that_names_no_notice_is_rejected_once(tmp_path: Path, data: bytes) -> None:
    drop = Drop(tmp_path)
    drop.put(data, "odd.csv")

    drop.hub.look()
    drop.hub.look()

    assert drop.kinds() == ["rejected"]


def test_receipts_are_readable_by_the_owner_alone(tmp_path: Path) -> None:
    drop = Drop(tmp_path)
    drop.put()

    drop.hub.look()

    mode = os.stat(drop.folder / "acknowledged" / "N-1.ack.json").st_mode & 0o777  # noqa: PTH116
    assert mode == 0o600
