"""Proof of receipt from drop folders: acknowledgement files confirm the notices they name.

Only what is awaited is looked for, so a folder's other files have no say. Each folder is looked at
by itself: one that hangs holds up nobody's receipts but its own. A receipt that is not believed
twice running goes to a named person. Before it: `dispatch` left the file.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from fhir_hub_bridge.connectors.drop_folder import DropFolder
from fhir_hub_bridge.connectors.interface import Received
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


@dataclass(frozen=True, slots=True)
class Look:
    """One partner's folder and the notices whose receipts may lie there."""

    recipient: str
    agreement: Agreement
    awaited: tuple[Awaited, ...]


@dataclass(frozen=True, slots=True)
class Receipts:
    """Looks for receipts and records what is found; `clock` gives aware instants.

    `doubted` remembers receipts not believed at the last look: one may be half written then, so
    that only the second time counts.
    """

    store: Store
    folders: DropFolder
    escalate_to: str
    told: Told
    clock: Callable[[], datetime]
    doubted: dict[str, str] = field(default_factory=dict)

    async def to_look_at(self) -> list[Look]:
        """The folders in which receipts are awaited."""
        awaited: defaultdict[str, list[Awaited]] = defaultdict(list)
        for notice in await self.store.read(awaiting_acknowledgement, method=_METHOD):
            awaited[notice.recipient].append(notice)
        if not awaited:
            self.doubted.clear()
            return []
        # Without such an agreement `dispatch` gives it to a person when it comes round again.
        return [
            Look(partner.id, partner.agreement, tuple(awaited[partner.id]))
            for partner in await self.store.read(all_partners)
            if partner.id in awaited and partner.agreement and partner.agreement.method == _METHOD
        ]

    async def look(self, at: Look) -> int:
        """Look at one folder once; how many notices were confirmed."""
        confirmed = 0
        for notice in at.awaited:
            try:
                receipt = await self.folders.receipt(
                    notice.id, sha256=notice.sha256, agreement=at.agreement
                )
            except OSError as error:  # TimeoutError too
                name = type(error).__name__
                log.warning("A drop folder cannot be read.", partner=at.recipient, error=name)
                break  # nor can the next be read there
            doubted = self.doubted.pop(notice.id, "")
            if isinstance(receipt, Received):
                await self._confirm(notice)
                confirmed += 1
            elif receipt is not None:
                self.doubted[notice.id] = receipt.detail
                if doubted == receipt.detail:
                    await self._give_to_a_person(notice, why=receipt.detail)
        return confirmed

    async def _confirm(self, notice: Awaited) -> None:
        now = self.clock()
        await self.store.write(
            record_acknowledgement,
            notice_id=notice.id,
            sha256=notice.sha256,
            received_at=now,
            now=now,
            told=self.told,
        )

    async def _give_to_a_person(self, notice: Awaited, *, why: str) -> None:
        escalation = Escalation(to=self.escalate_to, why=why)
        if await self.store.write(
            escalate, notice_id=notice.id, escalation=escalation, now=self.clock()
        ):
            log.warning("A receipt was not believed.", notice_id=notice.id)


async def collect_acknowledgements(
    receipts: Receipts,
    *,
    stop: asyncio.Event,
    poll: timedelta = timedelta(seconds=2),
    confirmed: asyncio.Event | None = None,
) -> None:
    """Look for acknowledgement files every `poll` until `stop` is set.

    A folder that is still being looked at is left out. `confirmed` is set whenever a notice was
    confirmed: the next of its lane may go out (give the event that wakes `dispatch.deliver`).
    """
    under_way: set[str] = set()

    async def look(at: Look) -> None:
        try:
            if await receipts.look(at) and confirmed is not None:
                confirmed.set()
        except Exception as error:  # noqa: BLE001  one folder must not end the others
            _log(error)
        finally:
            under_way.discard(at.recipient)

    async with asyncio.TaskGroup() as looks:
        while not stop.is_set():
            try:
                for at in await receipts.to_look_at():
                    if at.recipient not in under_way:
                        under_way.add(at.recipient)
                        looks.create_task(look(at))
            except Exception as error:  # noqa: BLE001  the loop goes on whatever happens
                _log(error)
            try:
                async with asyncio.timeout(poll.total_seconds()):
                    await stop.wait()
            except TimeoutError:
                continue


def _log(error: Exception) -> None:
    if isinstance(error, (StoreBusy, OutcomeUnknown)):
        log.warning("Receipts could not be recorded yet.", error=type(error).__name__)
    else:
        log_own_fault("Collecting receipts failed on our side.", error)
