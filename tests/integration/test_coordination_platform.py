"""What SDOHCC's CapabilityStatement asks of a coordination platform's server is served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fhir_hub_bridge.api.capability import capability_statement
from fhir_hub_bridge.api.registry import RESOURCES, SYSTEM

SHARED = Path(__file__).parents[3] / "shared" / "fhir" / "sdohcc-3.0.0"
EXPECTATION = "http://hl7.org/fhir/StructureDefinition/capabilitystatement-expectation"
# Without subscriptions; they are told as missing in docs/reference/sdohcc.md.
NOT_HERE = {"Subscription"}

needs_guide = pytest.mark.skipif(not SHARED.exists(), reason="SKIPPED LOUDLY: no ../shared/fhir")


def asked_of_the_platform() -> list[dict[str, Any]]:
    (path,) = SHARED.rglob("CapabilityStatement-SDOHCC-CoordinationPlatform*.json")
    statement = json.loads(path.read_text())
    (server,) = [rest for rest in statement["rest"] if rest["mode"] == "server"]
    return [r for r in server["resource"] if r["type"] not in NOT_HERE]


def is_asked(part: dict[str, Any]) -> bool:
    return any(
        e["url"] == EXPECTATION and e["valueCode"] in ("SHALL", "SHOULD")
        for e in part.get("extension", [])
    )


@needs_guide
@pytest.mark.requirement("conn-1")
def test_interactions_and_parameters_of_the_platform_are_served() -> None:
    ours = capability_statement(RESOURCES, SYSTEM, base="https://us.example/fhir", version="1.1.0")
    served = {entry["type"]: entry for entry in ours["rest"][0]["resource"]}
    missing: list[str] = []

    for asked in asked_of_the_platform():
        entry = served.get(asked["type"], {})
        codes = {one["code"] for one in entry.get("interaction", [])}
        names = {one["name"] for one in entry.get("searchParam", [])}
        missing += [
            f"{asked['type']}: {one['code']}"
            for one in asked.get("interaction", [])
            if is_asked(one) and one["code"] not in codes
        ]
        missing += [
            f"{asked['type']}?{one['name']}"
            for one in asked.get("searchParam", [])
            if is_asked(one) and one["name"] not in names
        ]

    assert len(served) > 20
    assert missing == []
