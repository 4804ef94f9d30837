"""Notices go out: claim what is due under a lease, hand each to `carry`, several at once.

As many processes as wanted may run `deliver` on one database. A worker that dies anywhere loses
nothing: its leases run out and another sends the same bytes again. Before it: `intake` froze the
messages. After it: `proof` collects receipts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import structlog

from fhir_hub_bridge.connectors.interface import Connector
from fhir_hub_bridge.delivery.carry import Carrier, Means
from fhir_hub_bridge.delivery.own_faults import log_own_fault
from fhir_hub_bridge.delivery.pace import Pace
from fhir_hub_bridge.delivery.partner_load import PartnerLoad
from fhir_hub_bridge.errors import OutcomeUnknown, StoreBusy
from fhir_hub_bridge.faults import fault
from fhir_hub_bridge.store import outbox
from fhir_hub_bridge.store.notice_rows import Told
from fhir_hub_bridge.store.outbox import Claimed
from fhir_hub_bridge.store.transaction import Store

log = structlog.get_logger()

_SHORTEST_PAUSE: Final = 0.01  # seconds between claims while there was work a moment ago
_IN_HAND: Final = 8  # batches a worker holds at most


async def deliver(
    store: Store,
    *,
    connectors: Mapping[str, Connector],
    pace: Pace,
    escalate_to: str,
    told: Told,
    clock: Callable[[], datetime],
    stop: asyncio.Event,
    wake: asyncio.Event | None = None,
) -> None:
    """Deliver due notices until `stop` is set, then finish what is being sent.

    `connectors` by an agreement's method. `escalate_to` is the person who gets notices in trouble.
    `clock` gives aware instants and judges leases. Setting `wake` after a commit in this process
    sends at once; without it a notice waits for the next look, at most `pace.poll`. `stop` is seen
    within `pace.poll`, too.
    """
    wake = wake or asyncio.Event()
    means = Means(store, connectors, pace, escalate_to, told, clock, stop)
    pause, longest = _SHORTEST_PAUSE, pace.poll.total_seconds()
    async with asyncio.TaskGroup() as in_hand:
        worker = _Worker(means, wake=wake, in_hand=in_hand)
        while not stop.is_set():
            wake.clear()
            begun = 0
            try:
                begun = await worker.begin()
                pause = _SHORTEST_PAUSE if begun else min(2 * pause, longest)
            except (StoreBusy, OutcomeUnknown) as busy:
                log.warning("Notices could not be claimed yet.", error=type(busy).__name__)
                pause = longest
            except Exception as error:  # noqa: BLE001  the loop goes on whatever happens
                log_own_fault("Claiming notices failed on our side.", error)
                pause = longest
            if begun < pace.batch:
                await _wait(wake, pause)


class _Worker:
    """What one process has in hand."""

    def __init__(self, means: Means, *, wake: asyncio.Event, in_hand: asyncio.TaskGroup) -> None:
        self._means = means
        self._wake = wake
        self._in_hand = in_hand
        self._held = 0
        self._load = PartnerLoad(at_once=means.pace.partner_concurrency)
        self._carrier = Carrier(means, self._load)
        self._steady = asyncio.get_running_loop().time

    async def begin(self) -> int:
        """Claim what is due and begin to carry it; how many notices."""
        means = self._means
        if self._held > (_IN_HAND - 1) * means.pace.batch:
            return 0
        claimed = await means.store.write(
            outbox.claim,
            now=means.clock(),
            lease=means.pace.lease,
            limit=means.pace.batch,
            passing_over=self._load.full(self._steady()),
        )
        if not claimed:
            return 0
        fault("K6")
        too_many: list[Claimed] = []
        for notice in claimed:
            if self._load.keep(notice.recipient, self._steady()):
                self._held += 1
                self._in_hand.create_task(self._carry(notice))
            else:
                too_many.append(notice)
        if too_many:
            await means.store.write(outbox.hand_back, too_many)
        return len(claimed) - len(too_many)

    async def _carry(self, notice: Claimed) -> None:
        try:
            await self._carrier.carry(notice)
        finally:
            self._held -= 1
            self._load.let_go(notice.recipient)
            self._wake.set()


async def _wait(wake: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return
