"""Organisations as FHIR, and the party that a Reference means."""

from __future__ import annotations

import pytest
from tests.builders import HARBOR, PARTNERS, PLAN, a_partner

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.validation import issues_of
from fhir_hub_bridge.mapping.parties_to_fhir import (
    organization,
    outside_reference_to,
    party_of,
    reference_to,
)
from fhir_hub_bridge.referral.model import Party

KNOWN: dict[str, Json] = {
    "Organization/o1": {
        "resourceType": "Organization",
        "id": "o1",
        "name": "Harbor as the EHR calls it",
        "identifier": [{"system": canonical.NPI, "value": HARBOR.npi}],
    },
    "PractitionerRole/r1": {
        "resourceType": "PractitionerRole",
        "id": "r1",
        "organization": {"reference": "Organization/o1"},
    },
    "Practitioner/p1": {"resourceType": "Practitioner", "id": "p1"},
}


def meant(reference: Json | None) -> Party:
    return party_of(reference, resource=KNOWN.get, partners=PARTNERS)


@pytest.mark.parametrize(
    ("reference", "partner"),
    [
        ({"reference": "Organization/harbor"}, "harbor"),
        ({"reference": "Organization/o1"}, "harbor"),
        ({"reference": "PractitionerRole/r1"}, "harbor"),
        ({"identifier": {"system": canonical.NPI, "value": HARBOR.npi}}, "harbor"),
        ({"identifier": {"system": canonical.TIN, "value": HARBOR.tin}}, "harbor"),
        ({"identifier": {"system": canonical.TIN, "value": "12-3456789"}}, "harbor"),
        ({"identifier": {"system": canonical.NPI, "value": "1245 319 599"}}, "harbor"),
        ({"display": HARBOR.name}, None),
        ({"reference": "Organization/nobody"}, None),
        ({"reference": "Practitioner/p1"}, None),
        (None, None),
    ],
)
def test_a_reference_means_the_partner_it_points_at_or_names_by_number(
    reference: Json | None, partner: str | None
) -> None:
    assert meant(reference).partner == partner


def test_a_party_that_is_only_named_keeps_its_name() -> None:
    assert meant({"display": "Somebody"}) == Party(name="Somebody")
    assert not meant({"reference": "Organization/nobody"}).is_named


def test_inside_a_partner_is_its_organization_and_outside_its_number_and_name() -> None:
    inside, outside = reference_to(PLAN.party), outside_reference_to(PLAN.party)

    assert inside == {"reference": "Organization/plan", "display": PLAN.name}
    assert outside == {
        "type": "Organization",
        "identifier": {"system": canonical.NPI, "value": PLAN.npi},
        "display": PLAN.name,
    }
    assert reference_to(Party(tin="12-3456789"))["identifier"]["system"] == canonical.TIN
    assert reference_to(Party(name="Somebody")) == {"type": "Organization", "display": "Somebody"}


def test_a_partner_s_organization_is_fhir_and_tells_how_to_reach_it() -> None:
    partner = a_partner("harbor", npi=HARBOR.npi, phone="916-555-0100", email="a@b.example")

    resource = organization(partner)

    assert issues_of(resource) == []
    assert resource["id"] == "harbor"
    assert [t["value"] for t in resource["telecom"]] == ["916-555-0100", "a@b.example"]
    assert "telecom" not in organization(a_partner("hearth"))
