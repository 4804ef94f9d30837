from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fhir_hub_bridge.connectors import drop_folder
from fhir_hub_bridge.connectors.drop_folder import RECEIPT_LIMIT, DropFolder
from fhir_hub_bridge.connectors.interface import (
    Answer,
    Message,
    Received,
    Refused,
    Sent,
    Unavailable,
    Unsendable,
)
from fhir_hub_bridge.referral.parties import Agreement

NOW = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
BODY = b"notice_id,notice_type\nn-1,loop-closed\n"
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "drop"
    (made / "acknowledged").mkdir(parents=True)
    return made


def an_agreement(folder: Path) -> Agreement:
    return Agreement("file-drop", str(folder), "acknowledgement", date(2026, 1, 1))


async def send(folder: Path, *, notice_id: str = "n-1") -> Answer:
    message = Message(notice_id, BODY, "text/csv", SHA256)
    return await DropFolder().send(message, agreement=an_agreement(folder), now=NOW)


async def receipt(folder: Path) -> Received | Refused | None:
    return await DropFolder().receipt("n-1", sha256=SHA256, agreement=an_agreement(folder))


def acknowledge(folder: Path, **wrong: Any) -> Path:
    path = folder / "acknowledged" / "n-1.ack.json"
    path.write_text(json.dumps({"notice": "n-1", "sha256": SHA256, **wrong}))
    return path


async def test_a_notice_is_left_whole_under_its_id_for_its_owner_only(folder: Path) -> None:
    answer = await send(folder)

    path = folder / "n-1.csv"
    assert answer == Sent("left in the folder")
    assert path.read_bytes() == BODY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in folder.iterdir() if p.is_file()] == ["n-1.csv"]


async def test_a_file_that_is_still_there_is_left_alone(folder: Path) -> None:
    await send(folder)
    before = (folder / "n-1.csv").stat()

    answer = await send(folder)

    assert answer == Sent("still in the folder")
    assert (folder / "n-1.csv").stat().st_mtime_ns == before.st_mtime_ns


async def test_a_file_that_vanished_is_written_again(folder: Path) -> None:
    await send(folder)
    (folder / "n-1.csv").unlink()

    answer = await send(folder)

    assert answer == Sent("left in the folder")
    assert (folder / "n-1.csv").read_bytes() == BODY


async def test_a_file_of_other_content_is_never_overwritten(folder: Path) -> None:
    (folder / "n-1.csv").write_bytes(b"theirs")

    answer = await send(folder)

    assert answer == Refused("something else has the file's name in the folder")
    assert (folder / "n-1.csv").read_bytes() == b"theirs"


async def test_a_link_under_the_files_name_is_not_followed(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.csv"
    (folder / "n-1.csv").symlink_to(target)

    answer = await send(folder)

    assert isinstance(answer, Refused)
    assert not target.exists()


async def test_nothing_is_left_behind_when_writing_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    answer = await send(folder)

    assert answer == Unavailable("the folder cannot be used: No space left on device")
    assert [p for p in folder.iterdir() if p.is_file()] == []


async def test_what_a_killed_worker_left_half_written_goes_with_the_next_try(
    folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere"
    (folder / ".n-1.part").write_bytes(BODY[:5])
    (folder / ".n-2.part").symlink_to(target)

    answers = [await send(folder, notice_id=id_) for id_ in ("n-1", "n-2")]

    assert answers == [Sent("left in the folder")] * 2
    assert (folder / "n-1.csv").read_bytes() == (folder / "n-2.csv").read_bytes() == BODY
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == ["n-1.csv", "n-2.csv"]
    assert not target.exists()


async def test_who_hung_while_another_began_anew_puts_nothing_in_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(_: int) -> None:
        (folder / ".n-1.part").unlink()
        (folder / ".n-1.part").write_bytes(BODY[:5])

    monkeypatch.setattr(os, "fsync", meanwhile)

    answer = await send(folder)

    assert isinstance(answer, Unavailable)
    assert not (folder / "n-1.csv").exists()


async def test_a_folder_that_hangs_takes_no_threads_from_another(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, released = tmp_path / "hangs", threading.Event()
    opened = drop_folder._opened

    def hang(path: Path | str, **how: Any) -> Any:
        if path == hanging:
            released.wait(10)
        return opened(path, **how)

    monkeypatch.setattr(drop_folder, "_opened", hang)
    folders = DropFolder(deadline=timedelta(seconds=0.2))
    message = Message("n-1", BODY, "text/csv", SHA256)
    lost = [
        folders.send(message, agreement=an_agreement(hanging), now=NOW)
        for _ in range(2 * drop_folder._THREADS)
    ]

    answers = await asyncio.gather(*lost)
    answer = await folders.send(message, agreement=an_agreement(folder), now=NOW)

    released.set()
    assert {type(lost) for lost in answers} == {Unavailable}
    assert answer == Sent("left in the folder")


async def test_a_folder_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    answer = await send(tmp_path / "not-mounted")

    assert answer == Unavailable("the folder cannot be used: No such file or directory")


@pytest.mark.parametrize("notice_id", ["", "../n-1", "a/b", ".hidden", "n 1", "n\x00", "n" * 65])
async def test_an_id_that_cannot_name_a_file_is_for_a_person(folder: Path, notice_id: str) -> None:
    answer = await send(folder, notice_id=notice_id)

    assert isinstance(answer, Unsendable)


async def test_an_acknowledgement_of_these_bytes_is_the_receipt(folder: Path) -> None:
    acknowledge(folder, sha256=SHA256.upper())

    assert await receipt(folder) == Received("acknowledgement file")


async def test_an_acknowledged_notice_is_not_written_again(folder: Path) -> None:
    acknowledge(folder)

    answer = await send(folder)

    assert answer == Received("acknowledgement file")
    assert not (folder / "n-1.csv").exists()


async def test_there_is_no_receipt_before_the_partner_writes_one(folder: Path) -> None:
    assert await receipt(folder) is None


async def test_there_is_no_receipt_where_the_partner_has_no_folder_for_them(
    folder: Path,
) -> None:
    (folder / "acknowledged").rmdir()

    assert await receipt(folder) is None


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"sha256": "0" * 64}, "the acknowledgement names other content"),
        ({"sha256": None}, "the acknowledgement names other content"),
        ({"notice": "n-2"}, "the acknowledgement is for another notice"),
        ({"more": "x" * RECEIPT_LIMIT}, "the acknowledgement is too large"),
    ],
)
async def test_an_acknowledgement_of_something_else_is_not_believed(
    folder: Path, wrong: dict[str, Any], why: str
) -> None:
    acknowledge(folder, **wrong)

    assert await receipt(folder) == Refused(why)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"notice"', b"\xff\xfe"])
async def test_an_acknowledgement_that_cannot_be_read_is_not_believed(
    folder: Path, data: bytes
) -> None:
    (folder / "acknowledged" / "n-1.ack.json").write_bytes(data)

    assert await receipt(folder) == Refused("the acknowledgement is not one JSON object")


async def test_an_acknowledgement_that_is_a_link_is_not_believed(
    folder: Path, tmp_path: Path
) -> None:
    elsewhere = acknowledge(folder).rename(tmp_path / "elsewhere.json")
    (folder / "acknowledged" / "n-1.ack.json").symlink_to(elsewhere)

    assert await receipt(folder) == Refused("the acknowledgement is a link")


async def test_a_linked_folder_of_acknowledgements_is_not_believed(
    folder: Path, tmp_path: Path
) -> None:
    acknowledge(folder)
    (folder / "acknowledged").rename(tmp_path / "elsewhere")
    (folder / "acknowledged").symlink_to(tmp_path / "elsewhere")

    assert await receipt(folder) == Refused("the acknowledgement lies in no plain folder")


async def test_a_named_pipe_neither_holds_us_nor_is_believed(folder: Path) -> None:
    os.mkfifo(folder / "acknowledged" / "n-1.ack.json")

    assert await receipt(folder) == Refused("the acknowledgement is not a plain file")


async def test_looking_for_a_receipt_in_a_folder_that_is_not_there_is_an_error(
    tmp_path: Path,
) -> None:
    with pytest.raises(FileNotFoundError):
        await receipt(tmp_path / "not-mounted")
