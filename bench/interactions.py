"""The FHIR door under load: writes and reads over HTTP at 16 connections."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator

import httpx

from bench import load
from bench.databases import Databases, a_bridge
from bench.figures import Figure, median, percentile
from bench.made_up import (
    PLAN,
    PROVIDER,
    clinic,
    referral_bundles,
    register,
    single_requests,
    single_tasks,
)
from bench.servers import serving
from bench.sizes import Sizes

_WRITES: tuple[tuple[str, str, Callable[[int], Iterator[bytes]]], ...] = (
    ("create a Task", "/fhir/Task", single_tasks),
    ("create a ServiceRequest", "/fhir/ServiceRequest", single_requests),
    (
        "transaction of 4 (a referral)",
        "/fhir",
        lambda start: referral_bundles(start, requester=clinic("")),
    ),
)


_NEWEST = (
    "/fhir/Task?owner=Organization/somebody-else&status=requested&_sort=-_lastUpdated&_count=20"
)


async def interactions(databases: Databases, kind: str, sizes: Sizes) -> AsyncIterator[Figure]:
    """Creates, transactions, reads and searches on one database, workers left out."""
    settings = await databases.fresh(kind)
    async with a_bridge(settings) as bridge:
        await register(bridge.store, PLAN, PROVIDER, clinic("http://127.0.0.1:9/fhir"))
    with serving(settings, workers=False) as base:
        for name, path, bodies in _WRITES:
            # A range of its own for each: the same body again would be answered, not stored.
            requests = (load.post(base, path, body) for body in bodies(1_000_000))
            await load.run(base, requests, seconds=sizes.seconds / 2)
            loads = [
                await load.run(base, requests, seconds=sizes.seconds) for _ in range(sizes.few)
            ]
            yield Figure(name, median([one.rate for one in loads]), kind)
            latencies = [seconds for one in loads for seconds in one.latencies]
            yield Figure(f"{name}, p99", percentile(latencies, 0.99) * 1000, kind)
        ids = await _stored(base, sizes.stored)
        reads = (load.get(base, f"/fhir/Task/{id_}") for id_ in itertools.cycle(ids))
        yield Figure("read by id", await _rate(base, reads, sizes), kind)
        searches = (
            load.get(base, f"/fhir/Task?identifier=https://bench.example/task|T-{number}")
            for number in itertools.cycle(range(sizes.stored))
        )
        yield Figure("search by identifier", await _rate(base, searches, sizes), kind)
        newest = itertools.repeat(load.get(base, _NEWEST))
        yield Figure(
            "search by owner and status, newest 20", await _rate(base, newest, sizes), kind
        )


async def _stored(base: str, count: int) -> list[str]:
    """Store so many Tasks, T-0 and on; their ids."""
    bodies = itertools.islice(single_tasks(0), count)
    await load.run(base, (load.post(base, "/fhir/Task", body) for body in bodies))
    ids: list[str] = []
    page = f"{base}/fhir/Task?_count=200"
    async with httpx.AsyncClient(timeout=30) as client:
        while page and len(ids) < count:
            bundle = json.loads((await client.get(page)).content)
            ids += [entry["resource"]["id"] for entry in bundle["entry"]]
            page = next((x["url"] for x in bundle["link"] if x["relation"] == "next"), "")
    return ids


async def _rate(base: str, requests: Iterator[bytes], sizes: Sizes) -> float:
    await load.run(base, requests, seconds=sizes.seconds / 4)
    return median(
        [(await load.run(base, requests, seconds=sizes.seconds)).rate for _ in range(sizes.repeats)]
    )
