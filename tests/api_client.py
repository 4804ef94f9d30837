"""The doors for tests: a bridge on an open store, and a client that needs no socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import httpx
from sqlalchemy import Connection

from fhir_hub_bridge.doors import build_doors
from fhir_hub_bridge.fhir.packages import EMPTY_LIBRARY, Library
from fhir_hub_bridge.mapping.catalog import Catalog, load_catalog
from fhir_hub_bridge.referral.model import PartnerId
from fhir_hub_bridge.referral.parties import Partner
from fhir_hub_bridge.settings import Settings, shipped
from fhir_hub_bridge.store.partners import put_partner
from fhir_hub_bridge.store.resources import NewVersion, save
from fhir_hub_bridge.store.transaction import Store
from fhir_hub_bridge.wiring import Bridge

BASE = "http://127.0.0.1:8480"
NOON = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)
"""A Friday noon in California."""


@cache
def shipped_catalog() -> Catalog:
    """The catalog as shipped, read once."""
    return load_catalog(shipped("mappings"))


def a_bridge(
    store: Store,
    *,
    now: datetime = NOON,
    operator: str = "sunrise",
    library: Library = EMPTY_LIBRARY,
) -> Bridge:
    """A bridge on this store, its clock standing still."""
    settings = Settings(operator=operator, base_url=f"{BASE}/fhir")
    return Bridge(settings, store, shipped_catalog(), clock=lambda: now, library=library)


@asynccontextmanager
async def a_client(bridge: Bridge) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the doors in open mode."""
    doors = build_doors(bridge, open_mode=True)
    # A failure is to be answered, not raised through the transport.
    transport = httpx.ASGITransport(doors, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        yield client


def a_task(id_: str, **changes: Any) -> dict[str, Any]:
    """A Task of a made-up referral."""
    return {
        "resourceType": "Task",
        "id": id_,
        "identifier": [{"system": "https://ehr.example/task", "value": f"T-{id_}"}],
        "status": "requested",
        "intent": "order",
        "for": {"reference": "Patient/pat1"},
        "requester": {"reference": "Organization/clinic"},
        "owner": {"reference": "Organization/plan"},
        **changes,
    }


async def keep(
    store: Store, *resources: dict[str, Any], version: int = 1, start: datetime = NOON
) -> None:
    """Store these resources one minute apart, as they would be after a write."""
    versions = [
        NewVersion(
            resource,
            version,
            start + timedelta(minutes=number),
            method="POST" if version == 1 else "PUT",
        )
        for number, resource in enumerate(resources)
    ]
    await store.write(save, versions)


async def register(store: Store, partners: Sequence[Partner]) -> None:
    """Register these partners."""

    def put(conn: Connection) -> None:
        for partner in partners:
            put_partner(conn, partner, at=NOON)

    await store.write(put)


PLAN = Partner(id=PartnerId("sunrise"), name="Sunrise Health Plan", kind="managed-care-plan")
CLINIC = Partner(id=PartnerId("clinic"), name="Elm Street Clinic", kind="referring-entity")


def the_outcome(response: httpx.Response) -> dict[str, Any]:
    """The first issue of an OperationOutcome answer."""
    body = response.json()
    assert body["resourceType"] == "OperationOutcome", body
    assert response.headers["content-type"] == "application/fhir+json"
    assert response.headers["x-request-id"]
    issue: dict[str, Any] = body["issue"][0]
    return issue
