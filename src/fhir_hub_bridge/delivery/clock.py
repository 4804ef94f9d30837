"""What the passing of time brings about: what is past due gets a person, a late agreement its due.

Before it: `intake` recorded notices, and partners joined. After it: `dispatch` sends what can go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from fhir_hub_bridge.delivery.own_faults import log_own_fault
from fhir_hub_bridge.errors import OutcomeUnknown, StoreBusy
from fhir_hub_bridge.store.late_agreements import AT_ONCE, take_over
from fhir_hub_bridge.store.notice_endings import escalate_past_due
from fhir_hub_bridge.store.notice_rows import Told
from fhir_hub_bridge.store.transaction import Store

log = structlog.get_logger()

EVERY: Final = timedelta(minutes=1)


async def watch_clock(
    store: Store,
    *,
    escalate_to: str,
    before_go_live: bool,
    told: Told,
    clock: Callable[[], datetime],
    stop: asyncio.Event,
    every: timedelta = EVERY,
) -> None:
    """Look at once and every `every` until `stop` is set.

    `before_go_live`: whether the rulebook has that rule applied. `clock` gives aware instants.
    """
    while not stop.is_set():
        try:
            await look_once(
                store,
                escalate_to=escalate_to,
                before_go_live=before_go_live,
                told=told,
                clock=clock,
            )
        except (StoreBusy, OutcomeUnknown) as error:
            log.warning("Due moments could not be looked at yet.", error=type(error).__name__)
        except Exception as error:  # noqa: BLE001  the loop goes on whatever happens
            log_own_fault("Looking at due moments failed on our side.", error)
        try:
            async with asyncio.timeout(every.total_seconds()):
                await stop.wait()
        except TimeoutError:
            continue


async def look_once(
    store: Store,
    *,
    escalate_to: str,
    before_go_live: bool,
    told: Told,
    clock: Callable[[], datetime],
) -> None:
    """Settle what waits for an agreement that is there, then escalate what is past due."""
    while True:
        # Whoever recorded while the partner joined did not see its agreement yet.
        settled = await store.write(
            take_over, before_go_live=before_go_live, now=clock(), told=told
        )
        if settled < AT_ONCE:
            break
    while True:
        found = await store.write(escalate_past_due, to=escalate_to, now=clock(), limit=AT_ONCE)
        if found:
            log.warning("Notices or providers' copies are past due.", count=found)
        if found < AT_ONCE:
            return
