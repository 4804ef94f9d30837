"""Searches among many Tasks, timed inside the store: what is left when HTTP is not counted.

The rows are written as the store writes them, without a request for each.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from bench.databases import Databases, a_bridge
from bench.figures import Figure, median
from bench.made_up import fulfil_task
from bench.sizes import Sizes
from fhir_hub_bridge.fhir.search import Query, parse_query
from fhir_hub_bridge.store.resource_search import search
from fhir_hub_bridge.store.resources import NewVersion, batches_of
from fhir_hub_bridge.store.rows import insert_all
from fhir_hub_bridge.store.transaction import Store

BUSIEST = "Organization/owner-0"
_CHUNK = 1_000
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_SEARCHES = {
    "many Tasks: busiest owner, two statuses, newest 50": (
        50,
        f"owner={BUSIEST}&status=requested,accepted&_lastUpdated=ge2026-01-01",
    ),
    "many Tasks: a usual owner, newest 20": (20, "owner=Organization/owner-77&status=requested"),
    "many Tasks: identifier": (20, "identifier=https://bench.example/task|T-777"),
    "many Tasks: business-status, newest 20": (20, "business-status=pending"),
    "many Tasks: a member's": (20, "patient=Patient/bench-78"),
}


async def many_tasks(databases: Databases, kind: str, sizes: Sizes) -> AsyncIterator[Figure]:
    """The median time of each search, in ms, and how fast the Tasks were loaded."""
    settings = await databases.fresh(kind)
    async with a_bridge(settings) as bridge:
        began = time.perf_counter()
        for start in range(0, sizes.many, _CHUNK):
            count = min(_CHUNK, sizes.many - start)
            await bridge.store.write(_load, start, count)
        seconds = time.perf_counter() - began
        yield Figure("many Tasks: loaded", sizes.many / seconds, kind)
        for name, (limit, query) in _SEARCHES.items():
            asked = parse_query("Task", [tuple(pair.split("=", 1)) for pair in query.split("&")])  # type: ignore[misc]
            yield Figure(name, await _milliseconds(bridge.store, asked, limit), kind)


async def _milliseconds(store: Store, query: Query, limit: int) -> float:
    def timed(conn: Connection) -> float:
        began = time.perf_counter()
        search(conn, query, limit=limit)
        return time.perf_counter() - began

    return median([await store.read(timed) for _ in range(31)][1:]) * 1000


def _load(conn: Connection, start: int, count: int) -> None:
    insert_all(conn, batches_of(list(_versions(start, count))))


def _versions(start: int, count: int) -> Iterator[NewVersion]:
    """Tasks of 1,000 owners, of which one has an eighth of all."""
    for number in range(start, start + count):
        owner = 0 if number % 8 == 0 else number % 1_000
        task = fulfil_task(
            number,
            patient=f"Patient/bench-{number // 2}",
            focus=f"ServiceRequest/bench-{number}",
            requester="Organization/somebody",
            owner=f"Organization/owner-{owner}",
        )
        task |= {
            "id": f"bench-{number}",
            "status": ("requested", "accepted", "in-progress", "completed")[number % 4],
            "businessStatus": json.loads(_PENDING) if number % 4 == 0 else {"text": "-"},
        }
        yield NewVersion(task, 1, _BEGAN + timedelta(seconds=number))


_PENDING = '{"coding": [{"system": "https://bench.example/status", "code": "pending"}]}'
