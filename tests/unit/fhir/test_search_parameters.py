"""The registry holds what the guides demand and what the standard defines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fhir_hub_bridge.fhir import definitions
from fhir_hub_bridge.fhir.search_parameters import PARAMETERS
from fhir_hub_bridge.fhir.validation import SUPPORTED_TYPES

GUIDE = Path(__file__).resolve().parents[4] / "shared/fhir/sdohcc-3.0.0/definitions"
# What SDOH Clinical Care 3.0.0 says that a coordination platform SHALL or SHOULD answer, and what
# its reference clients ask besides.
DEMANDED = {
    "Task": "code patient requester status focus owner output subject identifier part-of"
    " business-status modified authored-on group-identifier",
    "ServiceRequest": "category intent patient status code occurrence performer requester"
    " supporting-info identifier based-on requisition",
    "Procedure": "based-on category patient performer status code date",
    "Consent": "source-reference patient status",
    "DocumentReference": "patient",
    "Condition": "category patient code clinical-status onset-date recorded-date",
    "Goal": "category patient lifecycle-status start-date target-date",
    "Observation": "category patient status code date",
    "Group": "characteristic member characteristic-value managing-entity",
    "HealthcareService": "location organization service-category service-type program",
    "PractitionerRole": "organization practitioner",
    "Patient": "identifier name family given birthdate gender",
    "Organization": "identifier name",
    "Location": "identifier name address",
}
EVERYWHERE = {"_id", "_lastUpdated", "_profile", "_tag", "_security", "_source"}


def test_every_supported_type_but_bundle_can_be_searched() -> None:
    assert set(PARAMETERS) == SUPPORTED_TYPES - {"Bundle"}
    assert "Bundle" not in PARAMETERS
    for parameters in PARAMETERS.values():
        assert set(parameters) >= EVERYWHERE


@pytest.mark.parametrize("kind", DEMANDED)
def test_what_the_guides_demand_is_served(kind: str) -> None:
    assert set(DEMANDED[kind].split()) <= set(PARAMETERS[kind])


def test_parameter_is_what_the_standard_says() -> None:
    owner = PARAMETERS["Task"]["owner"]

    assert (owner.name, owner.kind, owner.expression) == ("owner", "reference", "Task.owner")
    assert owner.definition == "http://hl7.org/fhir/SearchParameter/Task-owner"
    assert {"Organization", "PractitionerRole"} <= set(owner.targets)
    assert PARAMETERS["Task"]["patient"].targets == ("Patient",)
    assert PARAMETERS["CareTeam"]["patient"].targets == ("Patient",)
    assert set(PARAMETERS["Task"]["focus"].targets) == set(PARAMETERS)
    assert PARAMETERS["Task"]["status"].system == "http://hl7.org/fhir/task-status"
    assert PARAMETERS["Task"]["code"].system == ""


@pytest.mark.skipif(not GUIDE.exists(), reason="SKIPPED LOUDLY: ../shared/fhir not found")
@pytest.mark.parametrize("file", ["Task-output-reference", "ServiceRequest-supporting-info"])
def test_the_guides_own_parameters_are_as_it_defines_them(file: str) -> None:
    official = json.loads((GUIDE / f"SearchParameter-{file}.json").read_bytes())

    (kind,) = official["base"]
    found = PARAMETERS[kind][official["code"]]

    assert (found.definition, found.expression) == (official["url"], official["expression"])
    assert found.kind == official["type"]


def test_only_few_official_parameters_cannot_be_followed() -> None:
    served = ("token", "reference", "date", "string", "uri")

    missing = {
        (kind, name)
        for kind in PARAMETERS
        for name, found in definitions.search_parameters(kind).items()
        if found.type in served and name not in PARAMETERS[kind]
    }

    assert missing == {
        ("Patient", "deceased"),
        ("Patient", "part-agree"),
        ("QuestionnaireResponse", "item-subject"),
    }


def test_numbers_quantities_places_and_their_composites_are_not_served() -> None:
    assert "near" not in PARAMETERS["Location"]
    assert "value-quantity" not in PARAMETERS["Observation"]
    assert "code-value-string" not in PARAMETERS["Observation"]
    assert "code-value-concept" in PARAMETERS["Observation"]
    assert "relationship" not in PARAMETERS["DocumentReference"]


def test_column_keeps_what_has_one_value_only() -> None:
    columns = {
        kind: {p.column for p in parameters.values()} - {""}
        for kind, parameters in PARAMETERS.items()
    }

    assert columns["Task"] == {"status", "owner", "requester", "patient"}
    assert columns["ServiceRequest"] == {"status", "requester", "patient"}
    assert columns["Observation"] == columns["Coverage"] == columns["Consent"] == {"patient"}
    assert columns["AuditEvent"] == columns["Provenance"] == columns["Organization"] == set()


def test_modifiers_go_by_the_kind() -> None:
    task, patient = PARAMETERS["Task"], PARAMETERS["Patient"]

    assert task["status"].modifiers == ("missing", "not")
    assert task["owner"].modifiers == ("missing", "identifier")
    assert patient["name"].modifiers == ("missing", "exact", "contains")
    assert task["_id"].modifiers == task["_lastUpdated"].modifiers == ()
