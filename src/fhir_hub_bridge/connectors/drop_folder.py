"""A partner's drop folder: notices are left as `<notice id>.csv`, receipts come back beside them.

A file appears whole under its name or not at all, and never replaces another. A receipt is
`acknowledged/<notice id>.ack.json` with `{"notice": id, "sha256": hex}`; what is a link, too large
or names other bytes is reported and never believed. A folder that hangs keeps a few threads, not
everybody's. Before it: `delivery.dispatch` and `proof`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

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
_THREADS: Final = 32
_THREADS_OF_ONE: Final = 4  # of them, busy with one folder
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_IS_LINK: Final = (errno.ELOOP, errno.ENOTDIR)  # what O_NOFOLLOW answers, by system and kind


T = TypeVar("T")


class DropFolder:
    """Writes to and reads from partners' folders, away from the event loop."""

    def __init__(self, *, deadline: timedelta = DEADLINE) -> None:
        """`deadline` is for a whole attempt; a folder on a network may hang."""
        self._deadline = deadline.total_seconds()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="drop-folder")
        self._turns: dict[Path, asyncio.Semaphore] = {}

    def close(self) -> None:
        """Let the threads go; one that hangs in a folder is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def send(self, message: Message, *, agreement: Agreement, now: datetime) -> Answer:  # noqa: ARG002
        """Leave the file unless it is there, or its receipt is.

        Received when the receipt is there, Sent when the file is, Refused for a receipt that is
        not believed or a file of other content under its name, Unavailable when the folder is not
        to be had, Unsendable for an id that cannot name a file.
        """
        if not _NAME.fullmatch(message.notice_id):
            return Unsendable("the notice's id cannot name a file")
        try:
            return await self._in(Path(agreement.endpoint), _leave, message)
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
        return await self._in(Path(agreement.endpoint), _find_receipt, notice_id, sha256)

    async def _in(self, folder: Path, job: Callable[..., T], *given: object) -> T:
        """Run in a thread. Raises TimeoutError; the thread's turn ends when it does, not then."""
        turns = self._turns.setdefault(folder, asyncio.Semaphore(_THREADS_OF_ONE))
        loop = asyncio.get_running_loop()

        def ended(_: object) -> None:
            with suppress(RuntimeError):  # the loop is closed when a hanging folder wakes late
                loop.call_soon_threadsafe(turns.release)

        async with asyncio.timeout(self._deadline):
            await turns.acquire()
            at_work = self._threads.submit(job, folder, *given)
            at_work.add_done_callback(ended)
            return await asyncio.wrap_future(at_work)


def _leave(folder: Path, message: Message) -> Answer:
    receipt = _find_receipt(folder, message.notice_id, message.sha256)
    if receipt is not None:
        return receipt
    name = f"{message.notice_id}.csv"
    with _opened(folder) as directory:
        try:
            there = _read(name, directory, limit=len(message.body))
        except FileNotFoundError:
            _write_whole(name, message, directory=directory)
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


def _write_whole(name: str, message: Message, *, directory: int) -> None:
    """Make the file appear whole, mode 0600, and stay: temporary name, fsync, rename, fsync.

    The temporary name is the notice's own: what a killed worker left is removed on the next try.
    """
    temporary = f".{message.notice_id}.part"
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=directory)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(message.body)
            file.flush()
            os.fsync(descriptor)
            _check_ours(descriptor, temporary, directory=directory)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise
    os.fsync(directory)


def _check_ours(descriptor: int, name: str, *, directory: int) -> None:
    # Whoever hangs here until its lease runs out may find that another has begun anew.
    there = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not os.path.samestat(os.fstat(descriptor), there):
        raise OSError(errno.EBUSY, "another worker is writing this file")


def _reason(error: OSError) -> str:
    # Without the file's name, which the message of an OSError repeats.
    return error.strerror or type(error).__name__
