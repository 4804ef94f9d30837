"""Partners' servers looked at: providers' Tasks come up, senders' originals come down.

The guide lets a platform subscribe or poll; this is the polling (SDOHCC 3.0.0 task-11, task-12: at
least hourly in working hours, not more often than every 15 minutes). Nothing is asked inside a
transaction, and only servers of registered partners are asked. Before: `copies_frozen` and
`referral_fetched` noted what is where. After: `child_changed` and `original_changed` record.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final, TypeAlias

import structlog

from fhir_hub_bridge.connectors.fhir_reader import FhirReader, Found, NoAnswer, Reply
from fhir_hub_bridge.errors import Conflict, OutcomeUnknown, Rejected, StoreBusy
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json, to_bytes
from fhir_hub_bridge.fhir.validation import issues_of
from fhir_hub_bridge.intake.child_changed import take_child
from fhir_hub_bridge.intake.original_changed import take_original
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.intake.referral_fetched import as_original
from fhir_hub_bridge.logs import places_of
from fhir_hub_bridge.mapping.task_from_partner import what_it_says
from fhir_hub_bridge.store import remote_copies
from fhir_hub_bridge.store.partners import all_partners
from fhir_hub_bridge.store.remote_copies import RemoteCopy
from fhir_hub_bridge.store.transaction import Store

log = structlog.get_logger()

EVERY: Final = timedelta(minutes=30)
"""How often one resource is looked at on its partner's server."""

_TICK: Final = timedelta(minutes=1)
_AT_ONCE: Final = 20  # of one claim: what is claimed and not looked at waits for its next turn
_KINDS: Final[tuple[remote_copies.Kind, ...]] = ("original", "child")

_Says: TypeAlias = Json | NoAnswer | str
"""What a partner's server says of a resource; a text is the trouble with it, "" for nothing yet."""


@dataclass(frozen=True, slots=True)
class Relay:
    """What looking takes. `recording` gives a fresh context; its moment is the moment of a look."""

    store: Store
    reader: FhirReader
    recording: Callable[[], Recording]
    every: timedelta = EVERY


async def keep_in_touch(
    relay: Relay,
    *,
    stop: asyncio.Event,
    changed: asyncio.Event | None = None,
    tick: timedelta = _TICK,
) -> None:
    """Look at what is due now and every `tick`, until `stop` is set; a look that is begun is ended.

    `changed` is set whenever something was recorded: notices may be owed of it. A partner whose
    server is slow has its next round when it is through with this one; others do not wait for it.
    """
    looking: set[str] = set()

    async def look(partner: str, server: str) -> None:
        if await _round(relay, partner, server, stop=stop) and changed is not None:
            changed.set()
        looking.discard(partner)

    async with asyncio.TaskGroup() as rounds:
        while not stop.is_set():
            for partner, server in (await _servers(relay)).items():
                if partner not in looking:
                    looking.add(partner)
                    rounds.create_task(look(partner, server))
            try:
                async with asyncio.timeout(tick.total_seconds()):
                    await stop.wait()
            except TimeoutError:
                continue


async def look_once(relay: Relay) -> int:
    """Look once at each resource that is due; how many changes were recorded.

    Partners are looked at side by side, each one's resources one after the other; a partner that
    does not answer is left until the next time.
    """
    servers, stop = await _servers(relay), asyncio.Event()
    rounds = (_round(relay, partner, at, stop=stop) for partner, at in servers.items())
    return sum(await asyncio.gather(*rounds))


async def _servers(relay: Relay) -> dict[str, str]:
    """The servers of partners by partner; none while the store is not to be had."""
    try:
        partners = await relay.store.read(all_partners)
    except Exception as error:  # noqa: BLE001  the loop goes on whatever happens
        _log_fault(error)
        return {}
    return {
        partner.id: partner.agreement.endpoint.rstrip("/")
        for partner in partners
        if partner.agreement is not None and partner.agreement.method == "fhir-push"
    }


async def _round(relay: Relay, partner: str, server: str, *, stop: asyncio.Event) -> int:
    """All of this partner's that is due; how many changes were recorded. Raises nothing."""
    now = relay.recording().now
    recorded = 0
    for kind in _KINDS:
        claim = partial(
            remote_copies.claim,
            kind=kind,
            partner=partner,
            looked_before=now - relay.every,
            now=now,
            limit=_AT_ONCE,
        )
        try:
            while not stop.is_set() and (due := await relay.store.write(claim)):
                for copy in due:
                    if stop.is_set():
                        break
                    taken = await _look_at(relay, copy, server)
                    if taken is None:
                        log.warning("A partner's server gives no answer.", partner=partner)
                        return recorded
                    recorded += taken
        except Exception as error:  # noqa: BLE001  the loop goes on whatever happens
            _log_fault(error)
    return recorded


async def _look_at(relay: Relay, copy: RemoteCopy, server: str) -> int | None:
    """How many changes were recorded; None where the server gives no answer."""
    look = _child_says if copy.kind == "child" else _original_says
    try:
        says = await look(relay.reader, copy, server)
        if isinstance(says, NoAnswer):
            return None
        if isinstance(says, str):
            if says and says != copy.trouble:
                await relay.store.write(remote_copies.refuse, copy, refused="", trouble=says)
                log.warning(
                    "An original cannot be followed.",
                    partner=copy.partner,
                    resource=copy.reference,
                    rule=says,
                )
            return 0
        if says != copy.seen:
            return await _record(relay, copy, says) if _digest(says) != copy.refused else 0
        if copy.trouble:  # put right there
            await relay.store.write(remote_copies.took, copy, seen=says)
    except Exception as error:  # noqa: BLE001  one bad resource must not end the others
        _log_fault(error)  # not noted as seen: it is looked at again
    return 0


async def _original_says(reader: FhirReader, copy: RemoteCopy, server: str) -> _Says:
    """The original as it now stands; gone also where its partner has moved."""
    if not copy.url.startswith(f"{server}/"):
        return "original-gone"
    reply = await reader.get(server, copy.url.removeprefix(f"{server}/"))
    if isinstance(reply, NoAnswer):
        return reply
    if not isinstance(reply, Found) or reply.resource["resourceType"] != copy.type:
        return "original-gone"
    if issues_of(reply.resource):
        return "not-r4"
    return as_original(reply.resource, url=copy.url, base=server)


async def _child_says(reader: FhirReader, child: RemoteCopy, server: str) -> _Says:
    """What our Task now says there; "" while it has not arrived."""
    wanted = f"{canonical.REFERRAL_ID}|{child.id}"
    reply = await reader.get(server, "Task", {"identifier": wanted})
    if isinstance(reply, NoAnswer):
        return reply
    tasks = _tasks(reply, child)
    return what_it_says(tasks[0], base=server) if tasks else ""


def _tasks(reply: Reply, child: RemoteCopy) -> list[Json]:
    """Our Task on their server; none while it has not arrived there, or where it is not unique."""
    entries = reply.resource.get("entry") if isinstance(reply, Found) else None
    found = [
        entry["resource"]
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and _is_copy(entry.get("resource"), child)
    ]
    if len(found) > 1:
        log.warning("A Task of ours is there twice.", partner=child.partner, task=child.id)
    return found if len(found) == 1 else []


def _is_copy(resource: object, child: RemoteCopy) -> bool:
    own = {"system": canonical.REFERRAL_ID, "value": child.id}
    match resource:
        case {"resourceType": "Task", "status": str(), "identifier": list(identifiers)}:
            return any(isinstance(i, Mapping) and own.items() <= i.items() for i in identifiers)
    return False


async def _record(relay: Relay, copy: RemoteCopy, says: Json) -> int:
    try:
        take = take_child if copy.kind == "child" else take_original
        taken = await relay.store.write(take, copy, says, recording=relay.recording())
    except (Rejected, Conflict) as error:
        rule = next((i.rule for i in getattr(error, "issues", ()) if i.rule), type(error).__name__)
        await relay.store.write(remote_copies.refuse, copy, refused=_digest(says), trouble=rule)
        log.warning(
            "What a partner's server says was not taken.",
            partner=copy.partner,
            resource=copy.reference,
            rule=rule,
        )
        return 0
    if taken:
        log.info(
            "A partner's server told of a change.", partner=copy.partner, resource=copy.reference
        )
    return int(taken)


def _digest(says: Json) -> str:
    return hashlib.sha256(to_bytes(says)).hexdigest()


def _log_fault(error: Exception) -> None:
    if isinstance(error, StoreBusy | OutcomeUnknown):
        log.warning("A change could not be recorded yet.", error=type(error).__name__)
    else:
        at = places_of(error.__traceback__, last=1)
        log.error("Looking at a partner's server failed.", error=type(error).__name__, at=at)
