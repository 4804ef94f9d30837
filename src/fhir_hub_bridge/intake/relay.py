"""Partners' servers looked at: providers' Tasks come up, senders' originals come down.

The guide lets a platform subscribe or poll; this is the polling (SDOHCC 3.0.0 task-11, task-12: at
least hourly in working hours, not more often than every 15 minutes). Nothing is asked inside a
transaction, and only servers of registered partners are asked. Before: `copies_frozen` and
`referral_fetched` noted what is where. After: `child_changed` and `original_changed` record.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

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
_AT_ONCE: Final = 200  # of one claim


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
    """Look at what is due now and every `tick`, until `stop` is set.

    `changed` is set whenever something was recorded: notices may be owed of it.
    """
    while not stop.is_set():
        try:
            if await look_once(relay) and changed is not None:
                changed.set()
        except Exception as error:  # noqa: BLE001  the loop goes on whatever happens
            _log_fault(error)
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
    servers: dict[str, str] = {
        partner.id: partner.agreement.endpoint
        for partner in await relay.store.read(all_partners)
        if partner.agreement is not None and partner.agreement.method == "fhir-push"
    }
    if not servers:
        return 0
    kinds: tuple[remote_copies.Kind, ...] = ("original", "child")
    return sum([await _look_at(relay, kind, servers) for kind in kinds])


async def _look_at(relay: Relay, kind: remote_copies.Kind, servers: Mapping[str, str]) -> int:
    now = relay.recording().now
    recorded = 0
    while due := await relay.store.write(
        remote_copies.claim,
        kind,
        partners=list(servers),
        looked_before=now - relay.every,
        now=now,
        limit=_AT_ONCE,
    ):
        by_partner: defaultdict[str, list[RemoteCopy]] = defaultdict(list)
        for copy in due:
            by_partner[copy.partner].append(copy)
        looks = (
            _look_at_all(relay, copies, server=servers[partner].rstrip("/"))
            for partner, copies in by_partner.items()
        )
        recorded += sum(await asyncio.gather(*looks))
    return recorded


async def _look_at_all(relay: Relay, copies: Sequence[RemoteCopy], *, server: str) -> int:
    recorded = 0
    for copy in copies:
        look = _child_says if copy.kind == "child" else _original_says
        says = await look(relay.reader, copy, server)
        if isinstance(says, NoAnswer):
            log.warning("A partner's server gives no answer.", partner=copy.partner)
            break
        if says is None and copy.kind == "original" and not copy.trouble:
            await relay.store.write(remote_copies.refuse, copy, refused="", trouble="original-gone")
            log.warning("An original is gone.", partner=copy.partner, resource=copy.reference)
        if says == copy.seen and copy.trouble:  # put right there
            await relay.store.write(remote_copies.took, copy, seen=says)
        elif says is not None and says != copy.seen and _digest(says) != copy.refused:
            recorded += await _record(relay, copy, says)
    return recorded


async def _original_says(
    reader: FhirReader, copy: RemoteCopy, server: str
) -> Json | NoAnswer | None:
    """The original as it now stands; None where it is gone, or its partner has moved."""
    if not copy.url.startswith(f"{server}/"):
        return None
    reply = await reader.get(server, copy.url.removeprefix(f"{server}/"))
    if isinstance(reply, NoAnswer):
        return reply
    if not isinstance(reply, Found) or reply.resource["resourceType"] != copy.type:
        return None
    if issues_of(reply.resource):
        log.warning("An original is no FHIR R4.", partner=copy.partner, resource=copy.reference)
        return copy.seen  # as it was, until it is mended
    return as_original(reply.resource, url=copy.url, base=server)


async def _child_says(reader: FhirReader, child: RemoteCopy, server: str) -> Json | NoAnswer | None:
    """What our Task now says there; None while it has not arrived."""
    wanted = f"{canonical.REFERRAL_ID}|{child.id}"
    reply = await reader.get(server, "Task", {"identifier": wanted})
    if isinstance(reply, NoAnswer):
        return reply
    tasks = _tasks(reply, child)
    return what_it_says(tasks[0], base=server) if tasks else None


def _tasks(reply: Reply, child: RemoteCopy) -> list[Json]:
    """Our Task on their server; none while it has not arrived there, or where it is not unique."""
    if not isinstance(reply, Found):
        return []
    found = [
        entry["resource"]
        for entry in reply.resource.get("entry", [])
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
    except Exception as error:  # noqa: BLE001  one bad resource must not end the others
        _log_fault(error)  # not noted as seen: it is looked at again
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
