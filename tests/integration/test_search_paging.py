"""Sorting and pages: any keys, each resource once whatever others write, links that tell nothing;
on both databases. https://hl7.org/fhir/R4/http.html#paging"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete
from tests.api_client import BASE, NOON, a_bridge, a_client, a_task, keep
from tests.search_client import asked, ids, link, matches

from fhir_hub_bridge.fhir.search import parse_query
from fhir_hub_bridge.store.resource_search import Page, Place, search
from fhir_hub_bridge.store.resources import NewVersion, save
from fhir_hub_bridge.store.search_index import INDEX_TABLES
from fhir_hub_bridge.store.tables import resource, resource_version
from fhir_hub_bridge.store.transaction import Store

ORDERS = {
    "_sort=authored-on": "b a d c e",
    "_sort=-authored-on": "c d a b e",
    "_sort=status": "e b a d c",
    "_sort=status,_lastUpdated": "b e a c d",
    "_sort=-status,authored-on": "d c a b e",
    "_sort=-_id": "e d c b a",
    "_sort=business-status": "a c e d b",
    "_sort=-business-status": "a c e d b",
    "_sort=owner,-_lastUpdated": "e d c a b",
}
"""Sort -> all ids; what has no value is last, what is even newest first."""


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    """Five Tasks, a minute apart from noon: a, b, c, d, e."""
    await keep(
        store,
        a_task("a", authoredOn="2026-02", status="on-hold", businessStatus=said("1", "9")),
        a_task("b", authoredOn="2026-01", status="accepted", owner={"display": "Nobody"}),
        a_task("c", authoredOn="2026-04", status="requested", businessStatus=said("2")),
        a_task("d", authoredOn="2026-03", status="requested"),
        a_task("e", status="accepted"),
    )
    async with a_client(a_bridge(store)) as open_client:
        yield open_client


def said(*codes: str) -> dict[str, Any]:
    return {"coding": [{"code": code} for code in codes]}


async def test_a_search_is_sorted_as_asked(client: httpx.AsyncClient) -> None:
    found = {sort: await matches(client, f"Task?{sort}") for sort in ORDERS}

    assert found == ORDERS


async def test_pages_of_every_order_make_the_whole(client: httpx.AsyncClient) -> None:
    for sort, expected in ORDERS.items():
        url: str | None = f"/fhir/Task?{sort}&_count=2"
        seen: list[str] = []
        while url:
            bundle = (await client.get(url)).json()
            seen += ids(bundle)
            url = link(bundle, "next")

        assert " ".join(seen) == expected, sort


async def test_links_hold_no_value_of_a_resource(client: httpx.AsyncClient) -> None:
    bundle = await asked(client, "Task?_sort=owner&_count=1")

    cursor = httpx.URL(link(bundle, "next") or "").params["_cursor"]
    place = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    assert place == f"{(NOON + timedelta(minutes=4)).timestamp():.0f}000000/1/e"


@pytest.mark.parametrize("place", ["1/1/nobody", "1/7/a", "99999999999999999/1/", "1/a", "a/1/b"])
async def test_a_link_that_was_changed_is_refused(client: httpx.AsyncClient, place: str) -> None:
    cursor = base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")

    answer = await client.get(f"/fhir/Task?_sort=status&_cursor={cursor}")

    assert answer.status_code == 400


async def test_the_callers_own_address_is_in_the_links(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fhir/Task?_count=1", headers={"Host": "localhost:8480"})

    assert (link(answer.json(), "next") or "").startswith("http://localhost:8480/fhir/Task?")
    assert link(answer.json(), "self") == "http://localhost:8480/fhir/Task?_count=1"
    assert not BASE.startswith("http://localhost")


names = st.sampled_from([f"t{number}" for number in range(9)])
bodies = st.builds(
    a_task,
    names,
    status=st.sampled_from(["requested", "accepted"]),
    authoredOn=st.sampled_from(["2026-01", "2026-02", "2026-02-03"]),
)


@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    shelf=st.lists(bodies, min_size=3, max_size=9, unique_by=lambda task: task["id"]),
    writes=st.lists(st.lists(bodies, max_size=2, unique_by=lambda task: task["id"]), max_size=6),
    sort=st.sampled_from(["", "_lastUpdated", "authored-on", "-status,authored-on", "-_id"]),
    limit=st.integers(1, 3),
)
async def test_pages_show_what_nobody_changed_once_and_in_order(
    store: Store, shelf: Any, writes: Any, sort: str, limit: int
) -> None:
    query = parse_query("Task", [("_sort", sort)] if sort else [])
    await store.write(begin, shelf)
    whole = await store.read(search, query, limit=100)
    versions = {task["id"]: 1 for task in shelf}

    seen: list[str] = []
    place: Place | None = None
    changed: set[str] = set()
    for minute in range(100):
        page: Page = await store.read_snapshot(search, query, limit=limit, place=place)
        seen += [stored.id for stored in page.matches]
        place = page.end
        if place is None:
            break
        for task in writes[minute] if minute < len(writes) else ():
            changed.add(task["id"])
            versions[task["id"]] = versions.get(task["id"], 0) + 1
            at = NOON + timedelta(hours=1, minutes=minute)
            await store.write(save, [NewVersion(task, versions[task["id"]], at)])

    unchanged = [stored.id for stored in whole.matches if stored.id not in changed]
    assert [id_ for id_ in seen if id_ not in changed] == unchanged


def begin(conn: Connection, shelf: list[dict[str, Any]]) -> None:
    """Let these Tasks, and nothing else, be stored, some at the same moment."""
    for table in (*INDEX_TABLES, resource, resource_version):
        conn.execute(delete(table))
    at = [NOON + timedelta(minutes=number // 2) for number in range(len(shelf))]
    save(conn, [NewVersion(task, 1, then) for task, then in zip(shelf, at, strict=True)])
