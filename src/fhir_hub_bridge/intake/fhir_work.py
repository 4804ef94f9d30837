"""One client's request on its way through its unit: what was sent, what is stored, who is asking.

Before: `fhir_request` took it apart. After: `task_posted` and `task_changed` record with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fhir_hub_bridge.errors import RuleBroken, VersionConflict
from fhir_hub_bridge.fhir.bundle import Entry
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.reference import Reference, local, parse_reference
from fhir_hub_bridge.intake.fhir_request import Asked
from fhir_hub_bridge.intake.record_referral import Given, record_referral
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.mapping.fhir_to_referral import Reading
from fhir_hub_bridge.mapping.parties_to_fhir import party_of
from fhir_hub_bridge.referral.deadlines import local_date
from fhir_hub_bridge.referral.model import Evidence, Party, ReferralUpdate, Told
from fhir_hub_bridge.referral.parties import Partner, registered
from fhir_hub_bridge.store.referrals import StoredReferral
from fhir_hub_bridge.store.resources import Stored, find, read_many, unstamped
from fhir_hub_bridge.store.unit import Connection
from fhir_hub_bridge.store.writes import Writes

_LOOKED_AT: Final = ("focus", "for", "subject", "patient", "beneficiary", "owner", "requester")


@dataclass(slots=True)
class FhirWork:
    """The request at work inside its transaction."""

    conn: Connection
    asked: Asked
    recording: Recording
    partners: tuple[Partner, ...]
    caller: Party
    sent: Mapping[str, Json] = field(default_factory=dict)  # what is new in it, by Type/id
    writes: Writes = field(default_factory=Writes)
    versions: dict[str, int] = field(default_factory=dict)  # written so far, by Type/id
    revived: set[str] = field(default_factory=set)  # those that had been deleted before
    referral_of: dict[str, str] = field(default_factory=dict)  # whose it was written as, too
    _found: dict[str, Stored | None] = field(default_factory=dict)

    def local(self, text: str) -> Reference | None:
        """A literal reference to a resource here, relative or under our base; None for others."""
        parsed = parse_reference(text)
        if parsed is None:
            return None
        here = local(parsed, [self.recording.base_url])
        return here if here.is_local else None

    def stored(self, text: str) -> Stored | None:
        """A stored resource by a reference to it, read once."""
        here = self.local(text)
        if here is None:
            return None
        name = f"{here.type}/{here.id}"
        if name not in self._found:
            self._found[name] = find(self.conn, here.type, here.id)
        return self._found[name]

    def look_ahead(self, resources: Iterable[Json]) -> None:
        """Read at once what a request's resources name, which one by one would take far longer."""
        named = {
            (here.type, here.id)
            for resource in resources
            for element in _LOOKED_AT
            if isinstance(one := resource.get(element), Mapping)
            and (here := self.local(str(one.get("reference", ""))))
        }
        if len(named) > 1:
            found = read_many(self.conn, named)
            self._found |= {f"{t}/{id_}": found.get(f"{t}/{id_}") for t, id_ in named}

    def held(self, type_: str, id_: str) -> Stored | None:
        """A stored resource as it is now, held until the transaction ends."""
        found = find(self.conn, type_, id_, lock=True)
        self._found[f"{type_}/{id_}"] = found
        return found

    def forget(self, reference: str) -> None:
        """It was deleted: it is not found any more."""
        self._found[reference] = None

    def resource(self, text: str) -> Json | None:
        """A resource sent along or stored, by a reference to it."""
        here = self.local(text)
        if here is not None and f"{here.type}/{here.id}" in self.sent:
            return self.sent[f"{here.type}/{here.id}"]
        found = self.stored(text)
        return found.parsed() if found else None

    def party(self, reference: Json | None) -> Party:
        """The party a Reference means."""
        here = self.local(str((reference or {}).get("reference", "")))
        if reference and here is not None:
            reference = {**reference, "reference": f"{here.type}/{here.id}"}
        return party_of(reference, resource=self.resource, partners=self.partners)

    def partner(self, party: Party) -> Partner | None:
        """The registered partner that a party was recognised as."""
        return registered(party.partner, self.partners)

    def reading(self) -> Reading:
        """What the translator needs to read a Task."""
        return Reading(
            rulebook=self.recording.rulebook,
            party=self.party,
            resource=self.resource,
            today=local_date(self.recording.now, self.recording.rulebook.calendar),
            cin_systems=cin_systems(self.partners),
        )

    def record(
        self,
        update: ReferralUpdate,
        stored: StoredReferral | None,
        given: Given,
        *,
        salt: str,
        found: Mapping[str, Stored] | None = None,
    ) -> None:
        """Record an update of one referral, on top of what is `found` where that is known."""
        recorded = record_referral(
            self.conn,
            update,
            stored=stored,
            partners=self.partners,
            recording=self.recording,
            writes=self.writes,
            given=given,
            salt=salt,
            found=found,
        )
        self.versions |= recorded.versions
        self.referral_of |= dict.fromkeys(recorded.versions, recorded.referral.id)

    def told(self, by: Party) -> Told:
        """Who says it now, and where it is written."""
        source = f"{self.asked.method} {self.asked.type or 'Bundle'}"
        evidence = Evidence("fhir", source=source, digest=self.asked.digest)
        return Told(by=by, learned_at=self.recording.now, evidence=evidence)

    def taken(self, only: set[str] | None) -> tuple[Json, ...]:
        """The new resources that belong to an update and were not taken by another."""
        return tuple(
            unstamped(resource)
            for name, resource in self.sent.items()
            if name not in self.versions and (only is None or name in only)
        )


def check_version(entry: Entry, current: int) -> None:
    """Raise VersionConflict where If-Match names another version than the current one."""
    if entry.if_match is not None and entry.if_match != current:
        raise VersionConflict(f"The current version is {current}, not {entry.if_match}.")


def check_writer(work: FhirWork, stored: Stored) -> None:
    """Raise RuleBroken unless the caller sent it; the bridge's own copies are changed by nobody."""
    written_here = bool(stored.referral_id) and not stored.source
    other = bool(stored.source) and stored.source != str(work.caller.partner or "")
    if written_here or other:
        raise RuleBroken("wrong-party", f"This {stored.type} was written by another party.")


def cin_systems(partners: Sequence[Partner]) -> frozenset[str]:
    """The identifier systems that partners use for the CIN."""
    return frozenset(p.cin_system for p in partners if p.cin_system)
