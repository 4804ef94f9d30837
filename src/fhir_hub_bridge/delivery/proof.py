"""Proof of receipt from drop folders: acknowledgement files confirm the notices they name.

Only what is awaited is looked for, so a folder's other files have no say. A receipt that is not
believed twice running goes to a named person. Before it: `dispatch` left the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog

from fhir_hub_bridge.connectors.drop_folder import DropFolder
from fhir_hub_bridge.connectors.interface import Received, Refused
from fhir_hub_bridge.delivery.own_faults import log_own_fault
from fhir_hub_bridge.errors import OutcomeUnknown, StoreBusy
from fhir_hub_bridge.referral.parties import Agreement
from fhir_hub_bridge.store.notice_endings import escalate, record_acknowledgement
from fhir_hub_bridge.store.notice_records import Awaited, awaiting_acknowledgement
from fhir_hub_bridge.store.notice_rows import Escalation, Told
from fhir_hub_bridge.store.partners import all_partners
from fhir_hub_bridge.store.transaction import Store

log = structlog.get_logger()
_METHOD = "file-drop"


async def collect_acknowledgements(
    store: Store,
    *,
    folders: DropFolder,
    escalate_to: str,
    told: Told,
    clock: Callable[[], datetime],
    stop: asyncio.Event,
    poll: timedelta = timedelta(seconds=2),
    confirmed: asyncio.Event | None = None,
) -> None:
    """Look for acknowledgement files every `poll` until `stop` is set.

    `confirmed` is set whenever a notice was confirmed: the next of its lane may go out (give the
    event that wakes `dispatch.deliver`). `clock` gives aware instants.
    """
    doubted: dict[str, str] = {}
    while not stop.is_set():
        try:
            found = await collect_once(
                store,
                folders=folders,
                doubted=doubted,
                escalate_to=escalate_to,
                told=told,
                clock=clock,
            )
            if found and confirmed is not None:
                confirmed.set()
        except (StoreBusy, OutcomeUnknown) as error:
            log.warning("Receipts could not be recorded yet.", error=type(error).__name__)
        except Exception as error:  # noqa: BLE001  the loop goes on whatever happens
            log_own_fault("Collecting receipts failed on our side.", error)
        try:
            async with asyncio.timeout(poll.total_seconds()):
                await stop.wait()
        except TimeoutError:
            continue


async def collect_once(
    store: Store,
    *,
    folders: DropFolder,
    doubted: dict[str, str],
    escalate_to: str,
    told: Told,
    clock: Callable[[], datetime],
) -> int:
    """Look once; how many notices were confirmed.

    `doubted` is the caller's memory of receipts not believed at the last look: one may be half
    written then, so that only the second time counts.
    """
    awaited = await store.read(awaiting_acknowledgement, method=_METHOD)
    if not awaited:
        doubted.clear()
        return 0
    agreements: dict[str, Agreement | None] = {
        p.id: p.agreement for p in await store.read(all_partners)
    }
    confirmed = 0
    seen: dict[str, str] = {}
    for notice in awaited:
        receipt = await _look(notice, agreements=agreements, folders=folders)
        now = clock()
        if isinstance(receipt, Received):
            await store.write(
                record_acknowledgement,
                notice_id=notice.id,
                sha256=notice.sha256,
                received_at=now,
                now=now,
                told=told,
            )
            confirmed += 1
        elif receipt is not None:
            seen[notice.id] = receipt.detail
            if doubted.get(notice.id) == receipt.detail:
                escalation = Escalation(to=escalate_to, why=receipt.detail)
                marked = await store.write(
                    escalate, notice_id=notice.id, escalation=escalation, now=now
                )
                if marked:
                    log.warning("A receipt was not believed.", notice_id=notice.id)
    doubted.clear()
    doubted.update(seen)
    return confirmed


async def _look(
    notice: Awaited, *, agreements: Mapping[str, Agreement | None], folders: DropFolder
) -> Received | Refused | None:
    agreement = agreements.get(notice.recipient)
    if agreement is None or agreement.method != _METHOD:
        return None  # `dispatch` gives it to a person when it comes round again
    try:
        return await folders.receipt(notice.id, sha256=notice.sha256, agreement=agreement)
    except OSError as error:  # TimeoutError too
        log.warning(
            "A drop folder cannot be read.", partner=notice.recipient, error=type(error).__name__
        )
        return None
