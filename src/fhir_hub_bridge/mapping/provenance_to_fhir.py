"""Who said it and where it is written, for every version an update wrote: one Provenance."""

from __future__ import annotations

from collections.abc import Sequence

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json, format_instant
from fhir_hub_bridge.mapping.parties_to_fhir import reference_to
from fhir_hub_bridge.mapping.sheet import Draft
from fhir_hub_bridge.referral.model import Event, Told


def provenance(id_: str, *, told: Told, events: Sequence[Event], drafts: Sequence[Draft]) -> Json:
    """The Provenance of one update: its targets are versions, its entity a row or a request."""
    agent: Json = {
        "type": {"coding": [{"system": canonical.PARTICIPANT_TYPE, "code": "author"}]},
        "who": reference_to(told.by) if told.by.is_named else {"display": "unknown party"},
    }
    if told.on_behalf_of.is_named:
        agent["onBehalfOf"] = reference_to(told.on_behalf_of)
    kinds = dict.fromkeys(event.kind.value for event in events)
    flags = dict.fromkeys(flag for event in events for flag in event.flags)
    evidence = told.evidence
    place = f"{evidence.file}, line {evidence.row}" if evidence.row else evidence.source
    what: Json = {"display": " ".join(part for part in (evidence.channel, place) if part)}
    if evidence.digest:
        what["identifier"] = {
            "system": "urn:ietf:rfc:3986",
            "value": f"urn:sha256:{evidence.digest}",
        }
    return {
        "resourceType": "Provenance",
        "id": id_,
        "target": [{"reference": f"{d.reference}/_history/{d.version}"} for d in drafts],
        "occurredDateTime": min(event.on for event in events).isoformat(),
        "recorded": format_instant(told.learned_at),
        "activity": {"text": ", ".join([*kinds, *flags])},
        "agent": [agent],
        "entity": [{"role": "source", "what": what}],
    }
