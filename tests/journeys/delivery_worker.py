"""A real delivery worker as a process, to be killed at a named point or to finish the work."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from tests.journeys.journaling_partner import entries_of
from tests.notice_builders import told

from fhir_hub_bridge import faults
from fhir_hub_bridge.connectors.fhir_peer import FhirPeer
from fhir_hub_bridge.connectors.interface import Answer, Message
from fhir_hub_bridge.delivery.dispatch import deliver
from fhir_hub_bridge.delivery.pace import Pace
from fhir_hub_bridge.referral.parties import Agreement
from fhir_hub_bridge.store.transaction import open_store

PACE = Pace(
    schedule=(timedelta(seconds=0.1), timedelta(seconds=0.5)),
    lease=timedelta(seconds=2),
    deadline=timedelta(seconds=1),
    batch=4,
    partner_concurrency=2,
    poll=timedelta(seconds=0.1),
)


def work(
    url: str,
    journal: Path,
    point: str = "",
    passes: int = 1,
    signal_: signal.Signals = signal.SIGKILL,
) -> None:
    """Deliver until SIGTERM; with a point, get the signal when it is passed for the nth time."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(_work(url, journal, point, passes, signal_))


class WatchedPeer(FhirPeer):
    """Knows which notices are under way, and how many copies the partner had of each before."""

    def __init__(self, journal: Path) -> None:
        super().__init__(deadline=PACE.deadline)
        self._journal = journal
        self._copies_before: dict[str, int] = {}

    async def send(self, message: Message, *, agreement: Agreement, now: datetime) -> Answer:
        self._copies_before[message.notice_id] = self._copies()[message.notice_id]
        try:
            return await super().send(message, agreement=agreement, now=now)
        finally:
            del self._copies_before[message.notice_id]

    def wait_until_processed(self) -> None:
        """Block until the partner has taken in one of the notices under way."""
        give_up_at = time.monotonic() + 5
        while time.monotonic() < give_up_at:
            copies = self._copies()
            if any(copies[id_] > before for id_, before in self._copies_before.items()):
                return
            time.sleep(0.002)

    def _copies(self) -> Counter[str]:
        return Counter(entry["notice"] for entry in entries_of(self._journal))


async def _work(url: str, journal: Path, point: str, passes: int, signal_: signal.Signals) -> None:
    store = await open_store(url)
    peer = WatchedPeer(journal)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    if point:
        faults.arm(point, _killer(peer, point, passes, signal_))
    await deliver(
        store,
        connectors={"fhir-push": peer},
        pace=PACE,
        escalate_to="J. Doe",
        told=told,
        clock=lambda: datetime.now(UTC),
        stop=stop,
    )
    await peer.close()
    await store.close()


def _killer(
    peer: WatchedPeer, point: str, passes: int, signal_: signal.Signals
) -> Callable[[], None]:
    left = passes

    def act() -> None:
        nonlocal left
        left -= 1
        if left != 0:
            return
        if point == "K9":
            peer.wait_until_processed()
        os.kill(os.getpid(), signal_)

    return act
