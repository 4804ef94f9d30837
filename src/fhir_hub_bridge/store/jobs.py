"""From coroutines to threads and back: a bounded queue of units that wait for a thread.

The coroutine waits on a future of its event loop; the thread takes jobs and tells their outcome.
Before it: `sqlite`. After it: `group_commit` and the readers of `sqlite`.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from fhir_hub_bridge.errors import OutcomeUnknown, StoreBusy
from fhir_hub_bridge.store.unit import Work, run_unit


@dataclass(slots=True, eq=False)
class Job:
    """A unit that waits for its thread, and then what became of it. Times are monotonic seconds."""

    work: Work
    future: asyncio.Future[Any]
    context: contextvars.Context
    asked_at: float
    deadline: float
    answer: Any = None
    error: BaseException | None = None

    def run(self, conn: Connection) -> None:
        """Run the unit in its caller's context and keep its answer. Raises what it raises."""
        self.answer = self.context.run(run_unit, self.work, conn)


class JobQueue:
    """First come, first served, by one or more threads. Belongs to one event loop."""

    def __init__(self, *, size: int, wait_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._size = size
        self._wait_seconds = wait_seconds
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self.closed = False

    async def ask(self, work: Work) -> Any:
        """Wait for a thread to run `work`, and return its answer. Raises StoreBusy, or its error.

        Cancelled while it waits, the unit never runs; cancelled later, only the answer is lost.
        """
        now = time.monotonic()
        job = Job(
            work=work,
            future=self._loop.create_future(),
            context=contextvars.copy_context(),
            asked_at=now,
            deadline=now + self._wait_seconds,
        )
        with self._changed:
            if self.closed:
                raise StoreBusy("The store is closed; nothing was stored.")
            if len(self._jobs) >= self._size:
                raise StoreBusy
            self._jobs.append(job)
            self._changed.notify()
        return await job.future

    def serve(self, settle: Callable[[list[Job]], None]) -> None:
        """The body of a thread, until the queue is closed and empty.

        `settle` gets a list of one job, may take more that wait and add them, and settles all.
        """
        taken: list[Job] = []
        try:
            while (job := self._take()) is not None:
                taken = [job]
                settle(taken)
                self._tell(taken)
                taken = []
        finally:
            # The thread ends. If that is not by `close`, nobody may wait for it for ever.
            for job in taken:
                job.error = OutcomeUnknown("The store has stopped while at work.")
            self._fail_all(taken)

    def take_waiting(self) -> Job | None:
        """For `settle`: the next job if one waits now."""
        with self._changed:
            return self._next()

    def close(self) -> None:
        """Take no more jobs; those accepted are still handed out."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def waiting(self) -> tuple[int, float]:
        """How many jobs wait, and for how many seconds the oldest has."""
        with self._changed:
            if not self._jobs:
                return 0, 0.0
            return len(self._jobs), time.monotonic() - self._jobs[0].asked_at

    def _take(self) -> Job | None:
        with self._changed:
            while True:
                if job := self._next():
                    return job
                if self.closed:
                    return None
                self._changed.wait()

    def _next(self) -> Job | None:
        while self._jobs:
            job = self._jobs[0]
            is_late = time.monotonic() > job.deadline
            if is_late:
                job.error = StoreBusy()
                self._tell([job])
            self._jobs.popleft()
            if not is_late and not job.future.cancelled():
                return job
        return None

    def _tell(self, jobs: Sequence[Job]) -> None:
        # One wake-up of the event loop for a whole group.
        try:
            self._loop.call_soon_threadsafe(_settle_futures, jobs)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def _fail_all(self, taken: list[Job]) -> None:
        with self._changed:
            self.closed = True
            left = list(self._jobs)
            self._jobs.clear()
            self._changed.notify_all()
        for job in left:
            job.error = StoreBusy("The store has stopped; nothing was stored.")
        if taken or left:
            self._tell(taken + left)


def _settle_futures(jobs: Sequence[Job]) -> None:
    for job in jobs:
        if job.future.done():  # its caller was cancelled
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.answer)
