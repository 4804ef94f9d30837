"""Organisations, both ways: a party as a FHIR reference, a reference as the party it means."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.mapping.cell_values import Fault, read_npi, read_tin
from fhir_hub_bridge.referral.model import Party
from fhir_hub_bridge.referral.parties import Partner, recognise

_TYPES = {
    "managed-care-plan": ("pay", "Payer"),
    "hub": ("cg", "Community Group"),
    "provider": ("prov", "Healthcare Provider"),
    "referring-entity": ("other", "Other"),
}


def reference_to(party: Party) -> Json:
    """A Reference: to the partner's Organization here, else by its own identifier and name."""
    if party.partner:
        return _with_display({"reference": f"Organization/{party.partner}"}, party.name)
    system, value = (canonical.NPI, party.npi) if party.npi else (canonical.TIN, party.tin)
    reference: Json = {"type": "Organization"}
    if value:
        reference["identifier"] = {"system": system, "value": value}
    return _with_display(reference, party.name)


def outside_reference_to(party: Party) -> Json:
    """A Reference another system can read: identifier and name, no address of ours."""
    return reference_to(Party(name=party.name, npi=party.npi, tin=party.tin))


def organization(partner: Partner) -> Json:
    """The Organization of a partner; its id is the partner's."""
    code, display = _TYPES[partner.kind]
    numbers = ((canonical.NPI, partner.npi), (canonical.TIN, partner.tin))
    telecom = [
        {"system": system, "value": value, "use": "work"}
        for system, value in (("phone", partner.phone), ("email", partner.email))
        if value
    ]
    resource: Json = {
        "resourceType": "Organization",
        "id": partner.id,
        "identifier": [{"system": s, "value": v} for s, v in numbers if v],
        "active": True,
        "type": [
            {"coding": [{"system": canonical.ORGANIZATION_TYPE, "code": code, "display": display}]}
        ],
        "name": partner.name,
        "telecom": telecom,
    }
    return {k: v for k, v in resource.items() if v not in ([], "")}


def party_of(
    reference: Json | None,
    *,
    resource: Callable[[str], Json | None],
    partners: Sequence[Partner],
) -> Party:
    """The party a Reference means; an empty Party where it says nothing usable.

    `resource` finds the Organizations and PractitionerRoles it may point at, by `Type/id`.
    Recognised in this order: a partner's own Organization, the Organization pointed at, the
    logical identifier. Of its NPI and TIN only the digits count.
    """
    if not reference:
        return Party()
    text = str(reference.get("reference", ""))
    found = resource(text) if text else None
    if found is not None and found["resourceType"] == "PractitionerRole":
        return party_of(found.get("organization"), resource=resource, partners=partners)
    for partner in partners:
        if text == f"Organization/{partner.id}":
            return partner.party
    display = str(reference.get("display", ""))
    if found is not None and found["resourceType"] == "Organization":
        party = _party(found.get("identifier", []), str(found.get("name", display)))
    else:
        logical = reference.get("identifier")
        party = _party([logical] if logical else [], display)
    return recognise(party, partners)


def _party(identifiers: Sequence[Json], name: str) -> Party:
    values = {i.get("system"): str(i.get("value", "")) for i in identifiers}
    return Party(
        name=name,
        npi=_number(read_npi, values.get(canonical.NPI, "")),
        tin=_number(read_tin, values.get(canonical.TIN, "")),
    )


def _number(read: Callable[[str], str | Fault], text: str) -> str:
    """The bare digits, so that a number is the same however it is written; else as it was sent."""
    found = read(text) if text else ""
    return text if isinstance(found, Fault) else found


def _with_display(reference: Json, name: str) -> Json:
    return {**reference, "display": name} if name else reference
