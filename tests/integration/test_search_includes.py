"""`_include` and `_revinclude`: what comes along, once and marked so; on both databases.

https://hl7.org/fhir/R4/search.html#include
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.api_client import a_bridge, a_client, a_task, keep
from tests.search_client import asked, ids

from fhir_hub_bridge.store import search_includes
from fhir_hub_bridge.store.transaction import Store

INCLUDED = {
    "Task?_id=t1&_include=Task:focus": "s1",
    "Task?_id=t1&_include=Task:output": "obs",
    "Task?_id=t2&_include=Task:part-of": "t1",
    "Task?_id=t1&_include=Task:patient": "p1",
    "Task?_id=t1&_include=Task:owner": "plan",
    "Task?_id=t1&_include=Task:owner:Practitioner": "",
    "Task?_id=t1&_include=Task:focus&_include=Task:patient": "p1 s1",
    "Task?_id=t1&_include=*": "obs p1 plan s1",
    "Task?_id=t1&_include=Task:focus&_include:iterate=ServiceRequest:performer": "plan s1",
    "Task?_id=t1&_include=Task:focus&_include=ServiceRequest:performer": "s1",
    "Task?_id=t1&_revinclude=Provenance:target": "prov",
    "Task?_id=t1&_revinclude=Task:part-of": "t2",
    "Task?_id=t1&_revinclude:iterate=Task:part-of": "t2 t3",
    "Task?_id=t1,t2&_revinclude=Task:part-of&_include=Task:part-of": "t3",
    "Task?_id=t1&_revinclude=Task:part-of&_include:iterate=Task:patient": "p1 t2",
    "ServiceRequest?_id=s1&_revinclude=Task:focus": "t1",
    "Patient?_id=p1&_revinclude=Task:patient": "t1",
    "Patient?_id=p1&_revinclude=Task:*": "t1",
    "Patient?_id=p1&_revinclude=ServiceRequest:subject:Patient": "s1",
}
"""Query -> what comes along, by id."""


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    """A Task with all that hangs on it, and two Tasks below it."""
    patient = {"for": {"reference": "Patient/p1"}}
    await keep(
        store,
        {"resourceType": "Patient", "id": "p1"},
        {"resourceType": "Organization", "id": "plan", "name": "Made-up Plan"},
        {
            "resourceType": "ServiceRequest",
            "id": "s1",
            "subject": {"reference": "Patient/p1"},
            "performer": [{"reference": "Organization/plan"}],
        },
        {"resourceType": "Observation", "id": "obs"},
        a_task(
            "t1",
            focus={"reference": "ServiceRequest/s1"},
            output=[{"valueReference": {"reference": "Observation/obs"}}],
            **patient,
        ),
        a_task("t2", partOf=[{"reference": "Task/t1"}], **{"for": {"reference": "Patient/gone"}}),
        a_task("t3", partOf=[{"reference": "Task/t2"}], **{"for": {"reference": "Patient/gone"}}),
        {"resourceType": "Provenance", "id": "prov", "target": [{"reference": "Task/t1"}]},
    )
    async with a_client(a_bridge(store)) as open_client:
        yield open_client


@pytest.mark.requirement("task-7")
async def test_what_is_asked_for_comes_along(client: httpx.AsyncClient) -> None:
    found = {query: included(await asked(client, query)) for query in INCLUDED}

    assert found == INCLUDED


async def test_totals_and_pages_count_matches_alone(client: httpx.AsyncClient) -> None:
    bundle = await asked(client, "Task?_id=t1,t2&_count=1&_include=Task:focus&_total=accurate")

    assert (ids(bundle), included(bundle), bundle["total"]) == (["t2"], "", 2)


async def test_a_match_is_never_included_again(client: httpx.AsyncClient) -> None:
    bundle = await asked(client, "Task?_include=Task:part-of&_revinclude=Task:part-of")

    assert sorted(ids(bundle)) == ["t1", "t2", "t3"]
    assert included(bundle) == ""


async def test_a_summary_holds_what_comes_along_too(client: httpx.AsyncClient) -> None:
    bundle = await asked(client, "Task?_id=t1&_include=Task:owner&_summary=true")

    tags = [entry["resource"]["meta"]["tag"][0]["code"] for entry in bundle["entry"]]
    assert tags == ["SUBSETTED", "SUBSETTED"]


async def test_more_than_one_answer_holds_is_cut_and_told(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_includes, "MOST", 2)

    bundle = await asked(client, "Task?_id=t1&_include=*")

    assert len(ids(bundle, "include")) == 2
    (warning,) = (e["resource"] for e in bundle["entry"] if e["search"]["mode"] == "outcome")
    assert warning["issue"][0]["code"] == "too-costly"


@pytest.mark.parametrize(
    "query", ["_include=Task", "_include=Task:status", "_include:x=Task:focus"]
)
async def test_an_inclusion_of_nothing_that_refers_is_refused(
    client: httpx.AsyncClient, query: str
) -> None:
    answer = await client.get(f"/fhir/Task?{query}")

    assert answer.status_code == 400


def included(bundle: dict[str, Any]) -> str:
    return " ".join(sorted(ids(bundle, "include")))
