"""Searches among many Tasks, timed inside the store: what is left when HTTP is not counted.

Where there are a great many, PostgreSQL makes them itself, and with them the index rows of what is
asked here; else the rows are written as the store writes them, without a request for each.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, text

from bench.databases import POSTGRESQL, Databases, a_bridge
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
_MADE_HERE = 50_000
_MOST_ON_SQLITE = 100_000
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
        count = sizes.many if kind == POSTGRESQL else min(sizes.many, _MOST_ON_SQLITE)
        made_there = kind == POSTGRESQL and count > _MADE_HERE
        began = time.perf_counter()
        if made_there:
            for start in range(0, count, _MADE_HERE):
                await bridge.store.write(_make_there, start, min(start + _MADE_HERE, count))
            await bridge.store.write(_analyse)
        for start in () if made_there else range(0, count, _CHUNK):
            await bridge.store.write(_load, start, min(_CHUNK, count - start))
        yield Figure("many Tasks: loaded", count / (time.perf_counter() - began), kind)
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


def _make_there(conn: Connection, start: int, stop: int) -> None:
    """The same Tasks, made by PostgreSQL."""
    (template,) = _versions(1, 1)
    body = json.dumps(template.resource).replace("bench-1", "bench-{n}").replace("T-1", "T-{n}")
    began = int(_BEGAN.timestamp() * 1_000_000)
    given = {"start": start, "stop": stop, "began": began, "body": body}
    for statement in _STATEMENTS:
        conn.execute(text(statement), given)


def _analyse(conn: Connection) -> None:
    """What autovacuum would do by and by."""
    for table in ("resource", "search_token", "search_reference"):
        conn.execute(text(f"ANALYZE {table}"))


_ROWS = """
    SELECT n, 'bench-' || n AS id, cast(:began AS bigint) + n * 1000000 AS at,
        cast(cast(('x' || encode(substring(sha256(convert_to('Task/bench-' || n, 'UTF8')) FOR 4),
            'hex')) AS bit(32)) AS bigint) % 1024 AS bucket
    FROM generate_series(cast(:start AS bigint), cast(:stop AS bigint) - 1) AS n
"""
_STATEMENTS = (
    f"""INSERT INTO resource (bucket, type, id, version, last_updated, body, source, referral_id,
            status, owner, requester, patient)
        SELECT bucket, 'Task', id, 1, at,
            convert_to(replace(cast(:body AS text), '{{n}}', cast(n AS text)), 'UTF8'), '', '',
            (ARRAY['requested', 'accepted', 'in-progress', 'completed'])[n % 4 + 1],
            'Organization/owner-' || CASE WHEN n % 8 = 0 THEN 0 ELSE n % 1000 END,
            'Organization/somebody', 'Patient/bench-' || n / 2
        FROM ({_ROWS}) AS rows""",  # noqa: S608
    f"""INSERT INTO search_token (bucket, type, id, param, system, value, last_updated)
        SELECT bucket, 'Task', id, 'identifier', 'https://bench.example/task', 'T-' || n, at
        FROM ({_ROWS}) AS rows
        UNION ALL
        SELECT bucket, 'Task', id, 'business-status', 'https://bench.example/status', 'pending', at
        FROM ({_ROWS}) AS rows WHERE n % 4 = 0""",  # noqa: S608
    f"""INSERT INTO search_reference (bucket, type, id, param, target, last_updated)
        SELECT bucket, 'Task', id, 'focus', 'ServiceRequest/bench-' || n, at
        FROM ({_ROWS}) AS rows""",  # noqa: S608
)
_PENDING = '{"coding": [{"system": "https://bench.example/status", "code": "pending"}]}'
