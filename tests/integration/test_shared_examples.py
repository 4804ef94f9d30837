"""Every published example of a type we serve, stored and read back with nothing lost."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.api_client import a_bridge, a_client

from fhir_hub_bridge.api.registry import CREATE, RESOURCES
from fhir_hub_bridge.store.transaction import Store

SHARED = Path(__file__).parents[3] / "shared" / "fhir"
FHIR_JSON = {"Content-Type": "application/fhir+json"}
CREATED = {served.type for served in RESOURCES if CREATE in served.interactions}


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    async with a_client(a_bridge(store)) as open_client:
        yield open_client


def published() -> list[Path]:
    found = [*SHARED.glob("*/examples/*.json"), *SHARED.glob("sdohcc-2.3.0-rendered/*.json")]
    return sorted(path for path in found if path.name.split("-")[0] in CREATED)


def exactly(text: bytes | str) -> dict[str, Any]:
    """JSON values, decimals by their digits: 72.50 is not 72.5."""
    found: dict[str, Any] = json.loads(text, parse_float=lambda digits: ("decimal", digits))
    return found


def without_what_the_server_owns(resource: dict[str, Any]) -> dict[str, Any]:
    owned = ("versionId", "lastUpdated")
    meta = {k: v for k, v in resource.get("meta", {}).items() if k not in owned}
    rest = {k: v for k, v in resource.items() if k not in ("id", "meta")}
    return rest | ({"meta": meta} if meta else {})


@pytest.mark.skipif(
    not SHARED.exists(), reason="SKIPPED LOUDLY: no ../shared/fhir beside the project"
)
@pytest.mark.requirement("conf-6")
@pytest.mark.requirement("conf-7")
async def test_published_examples_are_stored_and_read_back_equal(client: httpx.AsyncClient) -> None:
    refused: dict[str, list[str]] = {}
    changed: list[str] = []

    for path in published():
        body = path.read_bytes()
        type_ = path.name.split("-")[0]
        made = await client.post(f"/fhir/{type_}", content=body, headers=FHIR_JSON)
        if made.status_code != 201:
            refused[path.name] = [i["diagnostics"] for i in made.json()["issue"]]
            continue
        read = await client.get(made.headers["location"].partition("/_history")[0])
        sent, kept = exactly(body), exactly(read.content)
        if without_what_the_server_owns(sent) != without_what_the_server_owns(kept):
            changed.append(path.name)

    assert len(published()) > 100
    assert refused == {}
    assert changed == []


@pytest.mark.requirement("conf-9")
async def test_an_element_that_says_why_it_is_missing_is_kept(client: httpx.AsyncClient) -> None:
    why = {
        "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
        "valueCode": "asked-unknown",
    }
    patient = {"resourceType": "Patient", "_birthDate": {"extension": [why]}}

    made = await client.post("/fhir/Patient", json=patient, headers=FHIR_JSON)

    assert made.status_code == 201
    assert made.json()["_birthDate"] == {"extension": [why]}


def test_digits_of_decimals_are_told_apart() -> None:
    assert exactly('{"a": 72.50}') != exactly('{"a": 72.5}')
    assert Decimal("72.50") == Decimal("72.5")
