"""A Task whose focus is on its sender's own server: the request and what it points at are fetched.

Only from the registered base of the partner that hosts the focus; never from a host that a message
names. What was fetched joins the request as if it had been sent along. Nothing is asked inside a
transaction. Before: `receive_fhir`. After: its unit; `original_changed` keeps the copies current.
SDOHCC 3.0.0 refer-1: local copies of what the source referenced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from fhir_hub_bridge.connectors.fhir_reader import FhirReader, Found, NoAnswer
from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir.bundle import Entry
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.reference import (
    Reference,
    parse_reference,
    references_in,
    rewrite_references,
)
from fhir_hub_bridge.fhir.validation import SUPPORTED_TYPES, issues_of
from fhir_hub_bridge.intake.fhir_request import Asked
from fhir_hub_bridge.intake.fhir_work import FhirWork
from fhir_hub_bridge.mapping.fhir_to_referral import is_fulfilment
from fhir_hub_bridge.mapping.parties_to_fhir import party_of
from fhir_hub_bridge.referral.parties import Partner, registered
from fhir_hub_bridge.store.partners import all_partners
from fhir_hub_bridge.store.remote_copies import RemoteCopy, remote_rows
from fhir_hub_bridge.store.repeats import first_answer
from fhir_hub_bridge.store.resources import unstamped
from fhir_hub_bridge.store.transaction import Store

AT_MOST: Final = 20  # resources of one request
WITHIN: Final = timedelta(seconds=30)  # all of them: somebody waits for the answer
_NOT_COPIED: Final = frozenset({"AuditEvent", "Bundle", "Task", "Provenance"})
# What these point at belongs to the referral; what others point at does not.
_FOLLOWED: Final = frozenset({"ServiceRequest", "PractitionerRole"})


@dataclass(frozen=True, slots=True)
class Originals:
    """What was fetched from one partner's server: entries named by their absolute addresses."""

    partner: str = ""
    entries: tuple[Entry, ...] = ()


async def fetch_originals(
    asked: Asked,
    entries: Sequence[Entry],
    *,
    store: Store,
    reader: Callable[[], FhirReader],
    base_url: str,
    now: datetime,
    within: timedelta = WITHIN,
) -> Originals:
    """The ServiceRequests on a partner's server that new Tasks ask to fulfil, and what they need.

    At most three references deep from a Task and AT_MOST resources; what lies beyond stays where
    it is, pointed at. What a `fullUrl` of this Bundle names was sent along, wherever it is at home.
    Raises ResourceRejected (`focus-not-reachable`, also when it takes longer than `within`;
    `foreign-reference`).
    """
    here = {entry.full_url for entry in entries if entry.full_url}
    found = [(e.resource, _host_of_focus(e, base_url, but=here)) for e in entries]
    tasks = [task for task, host in found if task is not None and host]
    hosts = {host for _, host in found if host}
    if not hosts:
        return NONE_FETCHED
    partners = await store.read(all_partners)
    there = [p for p in partners if _server(p) in hosts]
    if len(hosts) > 1 or not there:
        raise _refused("foreign-reference", "It lies on no server of a partner registered here.")
    (host,) = hosts
    partner = _whose(there, registered(asked.caller, partners), tasks, partners)
    asked = replace(asked, caller=asked.caller or partner.id)
    if await store.read(first_answer, asked.body_keys(entries), now=now):
        return Originals(partner.id)  # the same request again: nothing is fetched for it
    fetch = _Fetch(host, reader())
    try:
        async with asyncio.timeout(within.total_seconds()):
            await fetch.all_of(tasks, but=here)
    except TimeoutError:
        raise _refused("focus-not-reachable", "Its server is too slow.") from None
    number = max(entry.index for entry in entries) + 1
    return Originals(
        partner.id,
        tuple(
            Entry(
                index=number + place,
                full_url=url,
                method="POST",
                type=str(resource["resourceType"]),
                resource=resource,
            )
            for place, (url, resource) in enumerate(fetch.found.items())
        ),
    )


NONE_FETCHED: Final = Originals()


def note_originals(work: FhirWork, originals: Originals, entries: Sequence[Entry]) -> None:
    """Where the originals of a referral's copies are, so that these can be kept current.

    `entries` are the fetched ones with the ids they have here.
    """
    copies = [
        RemoteCopy(
            type=entry.type,
            id=str(entry.id),
            referral_id=work.referral_of[f"{entry.type}/{entry.id}"],
            partner=originals.partner,
            kind="original",
            url=str(entry.full_url),
            seen=fetched.resource or {},
        )
        for entry, fetched in zip(entries, originals.entries, strict=True)
        if f"{entry.type}/{entry.id}" in work.referral_of
    ]
    work.writes.add([remote_rows(copies, at=work.recording.now)])


def as_original(resource: Json, *, url: str, base: str) -> Json:
    """A fetched resource as it is kept: its address for its source, no id, version or time.

    Its references to its own server are absolute and name no version.
    """
    names = {}
    for text in references_in(resource):
        found = parse_reference(text)
        if found is not None and found.base in (None, base):
            names[text] = str(replace(found, base=base, version=None))
    kept = {k: v for k, v in unstamped(resource).items() if k != "id"}
    meta = {**kept.pop("meta", {}), "source": url}
    return rewrite_references({**kept, "meta": meta}, names)


@dataclass(slots=True)
class _Fetch:
    """One server's resources on their way here."""

    base: str
    reader: FhirReader
    found: dict[str, Json]

    def __init__(self, base: str, reader: FhirReader) -> None:
        self.base, self.reader, self.found = base, reader, {}

    async def all_of(self, tasks: Sequence[Json], *, but: Collection[str]) -> None:
        """Breadth first: the focus of each Task, and with it what matters most, comes first."""
        focus = [str(task["focus"]["reference"]) for task in tasks]
        for text in focus:
            if (at := _at(text, self.base)) and not await self._get(at):
                raise _refused("focus-not-reachable", "It was not found on its server.")
        level: list[Json] = [*self.found.values(), *tasks]
        for _ in range(2):
            texts = dict.fromkeys(text for r in level for text in references_in(r))
            level = []
            for at in filter(None, [_at(text, self.base) for text in texts]):
                is_new = str(at) not in self.found and str(at) not in but
                if is_new and len(self.found) < AT_MOST and await self._get(at):
                    resource = self.found[str(at)]
                    level += [resource] if resource["resourceType"] in _FOLLOWED else []

    async def _get(self, at: Reference) -> bool:
        """Fetch one resource; False where it is definitely not to be had. Raises no answer."""
        if at.type in _NOT_COPIED or at.type not in SUPPORTED_TYPES:
            return False
        reply = await self.reader.get(self.base, f"{at.type}/{at.id}")
        if isinstance(reply, NoAnswer):
            raise _refused("focus-not-reachable", "Its server gives no answer.")
        if not isinstance(reply, Found) or reply.resource["resourceType"] != at.type:
            return False
        if issues := issues_of(reply.resource):
            place = f"{at.type} on its server"
            raise ResourceRejected(issues=[replace(i, place=f"{place}: {i.place}") for i in issues])
        self.found[str(at)] = as_original(reply.resource, url=str(at), base=self.base)
        return True


def _host_of_focus(entry: Entry, base_url: str, *, but: Collection[str]) -> str:
    """The base of another server on which a new Task's focus is, "" for none."""
    task = entry.resource or {}
    if entry.type != "Task" or entry.method != "POST" or not is_fulfilment(task):
        return ""
    text = str(task.get("focus", {}).get("reference", ""))
    found = parse_reference(text)
    if found is None or text in but or not str(found.base or "").startswith("http"):
        return ""
    return "" if found.base == base_url.rstrip("/") else str(found.base)


def _whose(
    there: Sequence[Partner],
    caller: Partner | None,
    tasks: Sequence[Json],
    partners: Sequence[Partner],
) -> Partner:
    """Of the partners with this server: the caller, or one it acts for; else who it must be."""
    if caller is not None:
        mine = [p for p in there if p.id == caller.id or p.id in caller.acts_for]
        if not mine:
            raise _refused("foreign-reference", "It lies on another partner's server.")
        return next((p for p in mine if p.id == caller.id), mine[0])
    if len(there) > 1:  # partners that share a server; nothing is fetched yet to tell them apart
        asking = [
            party_of(t.get("requester"), resource=lambda _: None, partners=partners) for t in tasks
        ]
        there = [p for p in there if all(party.partner == p.id for party in asking)]
    if len(there) != 1:
        raise _refused("foreign-reference", "Several share its server; identify the requester.")
    return there[0]


def _server(partner: Partner) -> str:
    agreement = partner.agreement
    if agreement is None or agreement.method != "fhir-push":
        return ""
    return agreement.endpoint.rstrip("/")


def _at(text: str, base: str) -> Reference | None:
    """The resource on this server that an absolute reference means, whatever its version."""
    found = parse_reference(text)
    return replace(found, version=None) if found is not None and found.base == base else None


def _refused(rule: str, message: str) -> ResourceRejected:
    return ResourceRejected(issues=[Issue("Task.focus", message, code="business-rule", rule=rule)])
