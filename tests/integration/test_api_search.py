"""search-type of Task: each parameter, pages, sorting, totals and bad input, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from tests import search_client
from tests.api_client import BASE, NOON, a_bridge, a_client, a_task, keep, the_outcome
from tests.search_client import link

from fhir_hub_bridge.store.transaction import Store

PROFILE = (
    "http://hl7.org/fhir/us/sdoh-clinicalcare/StructureDefinition/SDOHCC-TaskForReferralManagement"
)


MATCHES = {
    "": "edcba",
    "_id=b": "b",
    "_id=b,d,nobody": "db",
    "identifier=T-c": "c",
    "identifier=https://ehr.example/task|T-c": "c",
    "identifier=https://ehr.example/task|T-a,T-b": "ba",
    "identifier=https://ehr.example/task|": "edcba",
    "identifier=|T-c": "",
    "identifier=T-a,T-b&identifier=T-b,T-c": "b",
    "identifier=T-c&_id=c&status=completed&_sort=_lastUpdated": "c",
    "identifier=https://other.example|T-c": "",
    "status=requested": "eda",
    "status=accepted,completed": "cb",
    "status:not=requested": "cb",
    "status=requested&status=accepted": "",
    "owner=Organization/ours": "c",
    "owner=ours": "c",
    f"owner={BASE}/fhir/Organization/ours": "c",
    "owner:Organization=ours": "c",
    "owner:missing=true": "d",
    "owner:missing=false": "ecba",
    "owner:missing=true&status=requested": "d",
    "requester=Organization/ours": "e",
    "patient=pat2": "e",
    "patient=Patient/pat1&status=requested": "da",
    "subject=pat2": "e",
    f"_profile={PROFILE}": "b",
    "_lastUpdated=gt2026-11-20T20:02:00Z": "ed",
    "_lastUpdated=ge2026-11-20T20:02:00Z": "edc",
    "_lastUpdated=lt2026-11-20T12:02:00-08:00": "ba",
    "_lastUpdated=ge2026-11-20T20:01:00Z&_lastUpdated=le2026-11-20T20:03:00Z": "dcb",
    "_lastUpdated=2026-11-20": "edcba",
    "_lastUpdated=ne2026-11-20": "",
    "_sort=_lastUpdated": "abcde",
    "_sort=-_lastUpdated&status=requested": "eda",
}
"""Query -> the ids found, newest first."""


MALFORMED = (
    "_lastUpdated=yesterday",
    "_count=many",
    "_sort=colour",
    "_summary=brief",
    "_total=roughly",
    "status=",
    "status:exact=requested",
    "owner:missing=perhaps",
    "_cursor=nonsense",
    "_cursor=%00",
    "owner=%00",
)


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    """Five Tasks, a minute apart from noon: a, b, c, d, e."""
    ours = {"reference": "Organization/ours"}
    await keep(
        store,
        a_task("a"),
        a_task("b", status="accepted", meta={"profile": [f"{PROFILE}|3.0.0"]}),
        a_task("c", status="completed", owner=ours),
        {key: value for key, value in a_task("d").items() if key != "owner"},
        a_task("e", requester=ours, **{"for": {"reference": "Patient/pat2"}}),
        {"resourceType": "Patient", "id": "a", "gender": "unknown"},
    )
    async with a_client(a_bridge(store)) as open_client:
        yield open_client


def ids(bundle: dict[str, Any]) -> str:
    return "".join(search_client.ids(bundle))


async def test_search_finds_what_matches(client: httpx.AsyncClient) -> None:
    answers = {query: await client.get(f"/fhir/Task?{query}") for query in MATCHES}

    assert {query: ids(answer.json()) for query, answer in answers.items()} == MATCHES
    assert all(a.json()["total"] == len(MATCHES[query]) for query, a in answers.items())
    assert {answer.json()["type"] for answer in answers.values()} == {"searchset"}


async def test_a_search_by_head_tells_the_headers_alone(client: httpx.AsyncClient) -> None:
    answer = await client.head("/fhir/Task?status=requested")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/fhir+json"


async def test_elements_are_left_out_as_asked(client: httpx.AsyncClient) -> None:
    (found,) = (await client.get("/fhir/Task?_id=a&_elements=status")).json()["entry"]
    (short,) = (await client.get("/fhir/Task?_id=a&_summary=true")).json()["entry"]

    assert found["resource"].keys() == {"resourceType", "id", "meta", "status", "intent"}
    assert found["resource"]["meta"]["tag"][0]["code"] == "SUBSETTED"
    assert short["resource"]["meta"]["tag"][0]["code"] == "SUBSETTED"
    assert short["resource"]["meta"]["versionId"] == "1"


async def test_a_changed_resource_is_found_by_its_new_values_alone(
    store: Store, client: httpx.AsyncClient
) -> None:
    late = NOON + timedelta(hours=1)
    other = [{"system": "https://ehr.example/task", "value": "T-new"}]
    await keep(store, a_task("a", identifier=other), version=2, start=late)

    found = {
        value: ids((await client.get(f"/fhir/Task?identifier={value}")).json())
        for value in ("T-a", "T-new", "https://ehr.example/task|")
    }

    assert found == {"T-a": "", "T-new": "a", "https://ehr.example/task|": "aedcb"}


async def test_a_long_value_is_found_as_a_whole(store: Store, client: httpx.AsyncClient) -> None:
    long = "x" * 3000
    await keep(store, a_task("long", identifier=[{"system": long, "value": f"{long}1"}]))

    found = [
        ids((await client.get("/fhir/Task", params={"identifier": value})).json())
        for value in (f"{long}1", f"{long}|{long}1", f"{long}2", long)
    ]

    assert found == ["long", "long", "", ""]


async def test_search_by_post_finds_the_same(client: httpx.AsyncClient) -> None:
    answer = await client.post("/fhir/Task/_search?status=requested", data={"patient": "pat1"})

    assert answer.status_code == 200
    assert ids(answer.json()) == "da"


async def test_the_links_of_a_search_by_form_do_not_say_what_the_form_does(
    client: httpx.AsyncClient,
) -> None:
    form = {"patient": "pat1", "_count": "1"}

    first = (await client.post("/fhir/Task/_search?status=requested", data=form)).json()
    following = str(link(first, "next"))
    second = (await client.post(following, data=form)).json()
    cursor = parse_qs(urlsplit(following).query)["_cursor"][0]
    again = await client.post(
        "/fhir/Task/_search?status=requested", data={**form, "_cursor": cursor}
    )

    assert link(first, "self") == f"{BASE}/fhir/Task/_search?status=requested"
    assert following == f"{BASE}/fhir/Task/_search?status=requested&_cursor={cursor}"
    assert (ids(first), ids(second), ids(again.json())) == ("d", "a", "a")


async def test_entries_carry_their_address(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fhir/Task?_id=a", headers={"Host": "localhost:8480"})

    bundle = answer.json()
    assert bundle["entry"][0]["fullUrl"] == "http://localhost:8480/fhir/Task/a"
    assert bundle["entry"][0]["resource"]["meta"]["versionId"] == "1"
    assert link(bundle, "self") == "http://localhost:8480/fhir/Task?_id=a"


@pytest.mark.parametrize(
    ("sort", "pages"), [("", ["ed", "cb", "a"]), ("_lastUpdated", ["ab", "cd", "e"])]
)
async def test_pages_follow_their_links_to_the_end(
    client: httpx.AsyncClient, sort: str, pages: list[str]
) -> None:
    url: str | None = f"/fhir/Task?_count=2&_sort={sort}" if sort else "/fhir/Task?_count=2"
    seen = []

    while url:
        bundle = (await client.get(url)).json()
        seen.append(ids(bundle))
        assert "total" not in bundle
        url = link(bundle, "next")

    assert seen == pages


async def test_a_page_stands_still_while_others_write(
    store: Store, client: httpx.AsyncClient
) -> None:
    first = (await client.get("/fhir/Task?_count=2")).json()
    await keep(store, a_task("f"), a_task("g"), start=NOON + timedelta(hours=1))

    second = (await client.get(link(first, "next") or "")).json()

    assert (ids(first), ids(second)) == ("ed", "cb")


async def test_tasks_of_one_moment_are_all_paged(store: Store, client: httpx.AsyncClient) -> None:
    for id_ in ("x3", "x1", "x2"):
        await keep(store, a_task(id_, status="on-hold"))

    first = (await client.get("/fhir/Task?status=on-hold&_count=2")).json()
    second = (await client.get(link(first, "next") or "")).json()

    assert ids(first) + ids(second) == "x3x2x1"


async def test_totals_are_told_on_request(client: httpx.AsyncClient) -> None:
    page = (await client.get("/fhir/Task?_count=1&_total=accurate")).json()
    summary = (await client.get("/fhir/Task?status=requested&_summary=count")).json()
    none = (await client.get("/fhir/Task?_count=0")).json()

    assert (len(page["entry"]), page["total"]) == (1, 5)
    assert ("entry" in summary, summary["total"]) == (False, 3)
    assert ("entry" in none, none["total"]) == (False, 5)


async def test_a_page_is_never_larger_than_the_most(client: httpx.AsyncClient) -> None:
    bundle = (await client.get("/fhir/Task?_count=100000")).json()

    assert link(bundle, "self") == f"{BASE}/fhir/Task?_count=200"


async def test_an_unknown_parameter_is_warned_of(client: httpx.AsyncClient) -> None:
    bundle = (await client.get("/fhir/Task?status=accepted&colour=blue")).json()

    assert ids(bundle) == "b"
    warning = bundle["entry"][-1]
    assert warning["search"] == {"mode": "outcome"}
    assert warning["resource"]["issue"][0]["severity"] == "warning"
    assert "colour" in warning["resource"]["issue"][0]["details"]["text"]
    assert link(bundle, "self") == f"{BASE}/fhir/Task?status=accepted"


async def test_an_unknown_parameter_is_refused_when_asked_to(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fhir/Task?colour=blue", headers={"Prefer": "handling=strict"})

    assert answer.status_code == 400
    assert "colour" in the_outcome(answer)["details"]["text"]


async def test_a_malformed_search_is_refused(client: httpx.AsyncClient) -> None:
    answers = {query: await client.get(f"/fhir/Task?{query}") for query in MALFORMED}

    assert {query: a.status_code for query, a in answers.items()} == dict.fromkeys(MALFORMED, 400)
    assert all(the_outcome(answer)["severity"] == "error" for answer in answers.values())


async def test_a_search_form_of_another_kind_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/fhir/Task/_search", json={"status": "requested"})

    assert answer.status_code == 415


async def test_turtle_asked_for_in_a_form_is_not_acceptable(client: httpx.AsyncClient) -> None:
    answer = await client.post("/fhir/Task/_search", data={"_format": "ttl"})

    assert answer.status_code == 406
