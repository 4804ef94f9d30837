"""A partner's drop folder: notices are left as `<notice id>.csv`, receipts come back beside them.

A file appears whole under its name or not at all, and never replaces another. A receipt is
`acknowledged/<notice id>.ack.json` with `{"notice": id, "sha256": hex}`; what is a link, too large
or names other bytes is reported and never believed. Before it: `delivery.dispatch` and `proof`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from fhir_hub_bridge.connectors.interface import (
    Answer,
    Message,
    Received,
    Refused,
    Sent,
    Unavailable,
    Unsendable,
)
from fhir_hub_bridge.errors import ResourceRejected
from fhir_hub_bridge.fhir.codec import parse_json
from fhir_hub_bridge.referral.parties import Agreement

RECEIPT_LIMIT: Final = 64 * 1024  # bytes
DEADLINE: Final = timedelta(seconds=30)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_IS_LINK: Final = (errno.ELOOP, errno.ENOTDIR)  # what O_NOFOLLOW answers, by system and kind


class DropFolder:
    """Writes to and reads from partners' folders, away from the event loop."""

    def __init__(self, *, deadline: timedelta = DEADLINE) -> None:
        """`deadline` is for a whole attempt; a folder on a network may hang."""
        self._deadline = deadline.total_seconds()

    async def send(self, message: Message, *, agreement: Agreement, now: datetime) -> Answer:  # noqa: ARG002
        """Leave the file unless it is there, or its receipt is.

        Received when the receipt is there, Sent when the file is, Refused for a receipt that is
        not believed or a file of other content under its name, Unavailable when the folder is not
        to be had, Unsendable for an id that cannot name a file.
        """
        if not _NAME.fullmatch(message.notice_id):
            return Unsendable("the notice's id cannot name a file")
        try:
            async with asyncio.timeout(self._deadline):
                return await asyncio.to_thread(_leave, Path(agreement.endpoint), message)
        except TimeoutError:
            return Unavailable(f"the folder did not answer within {self._deadline:g} seconds")
        except OSError as error:
            return Unavailable(f"the folder cannot be used: {_reason(error)}")

    async def receipt(
        self, notice_id: str, *, sha256: str, agreement: Agreement
    ) -> Received | Refused | None:
        """The receipt of a notice left before: believed, not believed (and why), or none yet.

        Raises OSError when the folder is not to be had, TimeoutError when it does not answer.
        """
        async with asyncio.timeout(self._deadline):
            folder = Path(agreement.endpoint)
            return await asyncio.to_thread(_find_receipt, folder, notice_id, sha256)


def _leave(folder: Path, message: Message) -> Answer:
    receipt = _find_receipt(folder, message.notice_id, message.sha256)
    if receipt is not None:
        return receipt
    name = f"{message.notice_id}.csv"
    with _opened(folder) as directory:
        try:
            there = _read(name, directory, limit=len(message.body))
        except FileNotFoundError:
            _write_whole(folder, name, message.body, directory=directory)
            return Sent("left in the folder")
        except _NotPlain:
            there = None
    if there == message.body:
        return Sent("still in the folder")
    return Refused("something else has the file's name in the folder")


def _find_receipt(folder: Path, notice_id: str, sha256: str) -> Received | Refused | None:
    with _opened(folder) as directory:
        try:
            with _opened("acknowledged", inside=directory) as acknowledged:
                data = _read(f"{notice_id}.ack.json", acknowledged, limit=RECEIPT_LIMIT)
        except FileNotFoundError:
            return None
        except _NotPlain as error:
            return Refused(f"the acknowledgement {error}")
    try:
        receipt = parse_json(data)
    except ResourceRejected:
        return Refused("the acknowledgement is not one JSON object")
    if receipt.get("notice") != notice_id:
        return Refused("the acknowledgement is for another notice")
    named = receipt.get("sha256")
    if not isinstance(named, str) or named.lower() != sha256:
        return Refused("the acknowledgement names other content")
    return Received("acknowledgement file")


class _NotPlain(Exception):
    """What is not a plain small file or folder, and why."""


@contextmanager
def _opened(path: Path | str, *, inside: int | None = None) -> Iterator[int]:
    """A folder's descriptor; inside the partner's folder a link is not followed."""
    flags = os.O_RDONLY | os.O_DIRECTORY | (0 if inside is None else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags, dir_fd=inside)
    except OSError as error:
        if inside is not None and error.errno in _IS_LINK:
            raise _NotPlain("lies in no plain folder") from error
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(name: str, directory: int, *, limit: int) -> bytes:
    """A plain file of at most `limit` bytes. Raises FileNotFoundError, _NotPlain."""
    try:
        # NONBLOCK: a named pipe would otherwise hold us until somebody writes to it.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno in _IS_LINK:
            raise _NotPlain("is a link") from error
        raise
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _NotPlain("is not a plain file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise _NotPlain("is too large")
    return data


def _write_whole(folder: Path, name: str, body: bytes, *, directory: int) -> None:
    """Make the file appear whole, mode 0600, and stay: temporary name, fsync, rename, fsync."""
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f"{name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, name, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    os.fsync(directory)


def _reason(error: OSError) -> str:
    # Without the file's name, which the message of an OSError repeats.
    return error.strerror or type(error).__name__
