"""One notice from its claim to its record: send, decide, record what came of it.

What fails on our side is given to a person like any other trouble, so that no notice goes round in
a circle unseen. Before it: `dispatch` claimed the notice. After it: `store.outbox` has the record.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from fhir_hub_bridge.connectors.interface import (
    Answer,
    Connector,
    Message,
    Unavailable,
    Unsendable,
)
from fhir_hub_bridge.delivery.decision import (
    AwaitReceipt,
    Confirmed,
    Decision,
    Escalate,
    RetryAt,
    Standing,
    decide,
)
from fhir_hub_bridge.delivery.own_faults import log_own_fault
from fhir_hub_bridge.delivery.pace import Pace
from fhir_hub_bridge.delivery.partner_load import PartnerLoad
from fhir_hub_bridge.errors import OutcomeUnknown, StoreBusy
from fhir_hub_bridge.faults import fault
from fhir_hub_bridge.referral.parties import Agreement
from fhir_hub_bridge.store import outbox
from fhir_hub_bridge.store.notice_rows import Attempt, Escalation, Told
from fhir_hub_bridge.store.outbox import Claimed
from fhir_hub_bridge.store.partners import all_partners
from fhir_hub_bridge.store.transaction import Store

log = structlog.get_logger()

_AGREEMENTS_KEPT: Final = 2.0  # seconds
_HASTENED: Final = 200  # notices brought forward in one unit of work


@dataclass(frozen=True, slots=True)
class Means:
    """What carrying a notice takes; `dispatch.deliver` says what each is."""

    store: Store
    connectors: Mapping[str, Connector]
    pace: Pace
    escalate_to: str
    told: Told
    clock: Callable[[], datetime]
    stop: asyncio.Event


class Carrier:
    """Carries the notices of one process; knows its partners' agreements and load."""

    def __init__(self, means: Means, load: PartnerLoad) -> None:
        """`load` is shared with whoever claims."""
        self._means = means
        self._load = load
        self._agreements: dict[str, Agreement | None] = {}
        self._agreements_read_at = float("-inf")
        self._steady = asyncio.get_running_loop().time

    async def carry(self, claimed: Claimed) -> None:
        """Send, decide, record. Raises nothing but cancellation."""
        try:
            await self._carry(claimed)
        except Exception as error:  # noqa: BLE001  one bad notice must not end the others
            log_own_fault("Delivering a notice failed on our side.", error, notice_id=claimed.id)
            await self._give_to_a_person(claimed, error)

    async def _carry(self, claimed: Claimed) -> None:
        agreement = await self._agreement_of(claimed.recipient)
        means = self._means
        async with self._load.turns[claimed.recipient]:
            started_at = means.clock()
            if means.stop.is_set() or started_at + means.pace.deadline > claimed.lease_until:
                # After so long a wait for its turn another worker could send it meanwhile.
                await means.store.write(outbox.hand_back, [claimed])
                return
            answer = await self._send(claimed, agreement, now=started_at)
        ended_at = means.clock()
        fault("K10")
        recovered = self._note(answer, claimed.recipient)
        decision = decide(
            answer,
            _standing(claimed),
            proof=agreement.proof if agreement else "acknowledgement",
            schedule=means.pace.schedule,
            now=ended_at,
        )
        await self._record(claimed, _attempt(answer, started_at, ended_at), decision)
        if recovered:
            await self._hasten(claimed.recipient)

    async def _agreement_of(self, recipient: str) -> Agreement | None:
        age = self._steady() - self._agreements_read_at
        if age > _AGREEMENTS_KEPT or recipient not in self._agreements:
            partners = await self._means.store.read(all_partners)
            self._agreements = {p.id: p.agreement for p in partners}
            self._agreements_read_at = self._steady()
        return self._agreements.get(recipient)

    async def _send(
        self, claimed: Claimed, agreement: Agreement | None, *, now: datetime
    ) -> Answer:
        connector = self._means.connectors.get(claimed.method)
        if agreement is None or agreement.method != claimed.method or connector is None:
            return Unsendable("the agreement on record names another way than it was made for")
        if hashlib.sha256(claimed.message).hexdigest() != claimed.sha256:
            return Unsendable("the stored bytes do not match their hash")
        message = Message(claimed.id, claimed.message, claimed.media_type, claimed.sha256)
        return await connector.send(message, agreement=agreement, now=now)

    def _note(self, answer: Answer, recipient: str) -> bool:
        """Keep what the answer says of the partner; True when it is back after trouble."""
        match answer:
            case Unavailable():
                self._load.was_silent(recipient, self._steady())
                return False
            case Unsendable():
                return False
            case _:
                return self._load.answered(recipient)

    async def _record(self, claimed: Claimed, attempt: Attempt, decision: Decision) -> None:
        means = self._means
        next_attempt_at, escalation = _following(decision, escalate_to=means.escalate_to)
        while True:
            try:
                kept = await means.store.write(
                    outbox.record,
                    claimed,
                    attempt,
                    next_attempt_at=next_attempt_at,
                    escalation=escalation,
                    told=means.told,
                )
                break
            except (StoreBusy, OutcomeUnknown) as busy:
                error = type(busy).__name__
                log.warning("An attempt is not recorded yet.", notice_id=claimed.id, error=error)
                if means.stop.is_set():
                    return  # the lease runs out, and another worker sends the same bytes again
                await asyncio.sleep(means.pace.poll.total_seconds())
        fault("K12")
        log.info(
            "A notice was tried.",
            notice_id=claimed.id,
            partner=claimed.recipient,
            outcome=attempt.outcome,
            status=attempt.status,
            attempt=claimed.attempts + 1,
            decision=type(decision).__name__,
            lease_kept=kept,
        )

    async def _give_to_a_person(self, claimed: Claimed, error: Exception) -> None:
        answer = Unsendable(f"it failed on our side: {type(error).__name__}")
        now = self._means.clock()
        decision = decide(
            answer,
            _standing(claimed),
            proof="acknowledgement",
            schedule=self._means.pace.schedule,
            now=now,
        )
        try:
            await self._record(claimed, _attempt(answer, now, now), decision)
        except Exception as again:  # noqa: BLE001  its lease runs out and it comes round again
            log_own_fault("Nor could that be recorded.", again, notice_id=claimed.id)

    async def _hasten(self, recipient: str) -> None:
        """What waited because this partner did not answer waits no longer."""
        log.info("A partner answers again.", partner=recipient)
        means = self._means
        while not means.stop.is_set():
            moved = await means.store.write(
                outbox.hasten, recipient=recipient, now=means.clock(), limit=_HASTENED
            )
            if moved < _HASTENED:
                return


def _standing(claimed: Claimed) -> Standing:
    return Standing(
        notice_id=claimed.id,
        due_at=claimed.due_at,
        attempts=claimed.attempts,
        refusals=claimed.refusals,
        sent_at=claimed.sent_at,
        escalated=claimed.escalated,
    )


def _attempt(answer: Answer, started_at: datetime, ended_at: datetime) -> Attempt:
    return Attempt(
        started_at=started_at,
        ended_at=ended_at,
        outcome=type(answer).__name__.lower(),
        detail=answer.detail,
        status=getattr(answer, "status", None),
    )


def _following(
    decision: Decision, *, escalate_to: str
) -> tuple[datetime | None, Escalation | None]:
    match decision:
        case Confirmed():
            return None, None
        case AwaitReceipt(check_at=at) | RetryAt(at=at):
            return at, None
        case Escalate(why=why, retry_at=at):
            return at, Escalation(to=escalate_to, why=why)
