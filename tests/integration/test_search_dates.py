"""search-type by date: every prefix, parts of dates, periods; on both databases.

https://hl7.org/fhir/R4/search.html#prefix
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from tests.api_client import a_bridge, a_client, a_task, keep
from tests.search_client import matches

from fhir_hub_bridge.store.transaction import Store

MATCHES = {
    "authored-on=2026-03-04": "instant day",
    "authored-on=eq2026-03": "instant day month",
    "authored-on=2026": "instant day month year",
    "authored-on=2026-03-04T18:00:00Z": "instant",
    "authored-on=2026-03-04T10:00-08:00": "instant",
    "authored-on=ne2026-03": "year",
    "authored-on=gt2026-03-04": "month year",
    "authored-on=sa2026-03-04": "",
    "authored-on=ge2026-03-04": "instant day month year",
    "authored-on=lt2026-03-04": "month year",
    "authored-on=eb2026-03-04": "",
    "authored-on=le2026-03-04": "instant day month year",
    "authored-on=sa2026-02-27": "instant day month",
    "authored-on=eb2026-04-01": "instant day month",
    "authored-on=ge2026-03-04&authored-on=le2026-03-04T12:00:00Z": "day month year",
    "authored-on=2026-03-04T18:00:00Z,2025": "instant",
    "authored-on:missing=true": "period open",
    "period=2026-05": "period",
    "period=gt2026-05-20": "open",
    "period=ap2026-05-10": "period open",
    "period=lt2026-05-02": "period",
    "period=sa2026-05-01": "open",
    "period=eb2026-06-01": "period",
}
"""Query -> the Tasks found, oldest first."""


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    """Tasks with dates of each precision, and with periods."""
    await keep(
        store,
        a_task("instant", authoredOn="2026-03-04T10:00:00-08:00"),
        a_task("day", authoredOn="2026-03-04"),
        a_task("month", authoredOn="2026-03"),
        a_task("year", authoredOn="2026"),
        a_task("period", executionPeriod={"start": "2026-05-01", "end": "2026-05-20"}),
        a_task("open", executionPeriod={"start": "2026-05-02"}),
    )
    async with a_client(a_bridge(store)) as open_client:
        yield open_client


async def test_every_prefix_compares_the_two_intervals(client: httpx.AsyncClient) -> None:
    found = {query: await matches(client, f"Task?{query}&_sort=_lastUpdated") for query in MATCHES}

    assert found == MATCHES
