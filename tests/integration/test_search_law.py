"""The law of searches: whatever is stored and asked, both databases find what a plain reading of
the standard finds, in its order, page by page; and writers do not disturb the pages of a reader."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete
from tests.naive_search import Kept, found

from fhir_hub_bridge.fhir.search import Query, parse_query
from fhir_hub_bridge.store.resource_search import count, search
from fhir_hub_bridge.store.resources import NewVersion, save
from fhir_hub_bridge.store.search_index import INDEX_TABLES
from fhir_hub_bridge.store.tables import resource, resource_version
from fhir_hub_bridge.store.transaction import Store

NOON = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)
DATES = ("2026", "2026-03", "2026-03-04", "2026-03-04T10:00:00Z", "2026-03-04T10:00:00.250-08:00")
NAMES = ("Madeup", "madeüp", "Marta", "Mad", "100% Made_up")
CODES = st.sampled_from(["a", "b", "c"])
SYSTEMS = st.sampled_from(["", "https://x.example", "https://y.example"])
PEOPLE = st.sampled_from(["Patient/p1", "Patient/p2", "Patient/p3"])
PARTIES = st.sampled_from(
    ["Organization/o1", "Organization/o2", "https://far.example/Organization/o1"]
)


def some(strategy: st.SearchStrategy[Any], *, least: int = 0) -> st.SearchStrategy[Any]:
    return st.lists(strategy, min_size=least, max_size=2)


def a_resource(kind: str, ids: list[str], **elements: st.SearchStrategy[Any]) -> Any:
    """A resource with each of these elements, or without it where it has nothing in it."""
    built = st.fixed_dictionaries({"id": st.sampled_from(ids), **elements})
    return built.map(
        lambda found: (
            {"resourceType": kind} | {k: v for k, v in found.items() if v not in (None, [], {})}
        )
    )


codings = st.fixed_dictionaries({"code": CODES}, optional={"system": SYSTEMS.filter(bool)})
concepts = st.fixed_dictionaries({"coding": some(codings, least=1)})
identifiers = st.fixed_dictionaries({"value": CODES}, optional={"system": SYSTEMS.filter(bool)})
maybe = st.none


def named(references: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return maybe() | st.fixed_dictionaries(
        {}, optional={"reference": references, "identifier": identifiers}
    ).filter(bool)


periods = st.fixed_dictionaries(
    {}, optional={"start": st.sampled_from(DATES[:3]), "end": st.sampled_from(["2026-05", "2027"])}
).filter(bool)
tasks = a_resource(
    "Task",
    ["t1", "t2", "t3", "t4", "t5", "t6"],
    identifier=some(identifiers),
    status=st.sampled_from(["requested", "accepted"]),
    businessStatus=maybe() | concepts,
    owner=named(PARTIES),
    focus=named(st.sampled_from(["ServiceRequest/s1", "ServiceRequest/s2"])),
    partOf=some(st.fixed_dictionaries({"reference": st.sampled_from(["Task/t1", "Task/t2"])})),
    authoredOn=maybe() | st.sampled_from(DATES),
    executionPeriod=maybe() | periods,
    **{"for": named(PEOPLE)},
)
requests = a_resource(
    "ServiceRequest",
    ["s1", "s2", "s3"],
    status=st.sampled_from(["active", "draft"]),
    category=some(concepts),
    code=maybe() | concepts,
    subject=named(PEOPLE),
    authoredOn=maybe() | st.sampled_from(DATES),
)
names = st.fixed_dictionaries(
    {}, optional={"family": st.sampled_from(NAMES), "given": some(st.sampled_from(NAMES))}
)
patients = a_resource(
    "Patient",
    ["p1", "p2", "p3"],
    identifier=some(identifiers),
    name=some(names.filter(bool)),
    birthDate=maybe() | st.sampled_from(DATES[:3]),
)
# Times that meet, so that ids must put them in order.
shelves = st.lists(
    st.tuples(st.one_of(tasks, tasks, requests, patients), st.integers(0, 3)), max_size=14
).map(lambda pairs: list({(b["resourceType"], b["id"]): (b, m) for b, m in pairs}.values()))

tokens = st.one_of(
    CODES,
    st.builds("{}|{}".format, SYSTEMS, CODES),
    SYSTEMS.filter(bool).map("{}|".format),
    st.lists(CODES, min_size=2, max_size=2).map(",".join),
)
dates = st.builds(
    "{}{}".format,
    st.sampled_from(["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"]),
    st.sampled_from(DATES[:4]),
)
times = st.builds(
    "{}{}".format,
    st.sampled_from(["", "ne", "gt", "lt", "ge", "le"]),
    st.sampled_from(["2026-11-20", "2026-11-20T20:01:00Z", "2026-11-20T20:01Z"]),
)
texts = st.sampled_from(["mad", "MADE", "marta", "Madeup", "100%", "made_up"])
booleans = st.sampled_from(["true", "false"])
TASK_QUESTIONS = {
    "_id": st.sampled_from(["t1", "t2,t3", "nobody"]),
    "_lastUpdated": times,
    "identifier": tokens,
    "status": st.sampled_from(["requested", "accepted", "requested,accepted"]),
    "status:not": st.sampled_from(["requested", "accepted"]),
    "business-status": tokens,
    "business-status:not": tokens,
    "business-status:missing": booleans,
    "owner": PARTIES,
    "owner:missing": booleans,
    "owner:identifier": tokens,
    "focus": st.sampled_from(["ServiceRequest/s1", "s2", "s1,s2"]),
    "focus:missing": booleans,
    "part-of": st.sampled_from(["Task/t1", "t2"]),
    "patient": PEOPLE,
    "subject": PEOPLE,
    "authored-on": dates,
    "authored-on:missing": booleans,
    "period": dates,
    "patient.identifier": tokens,
    "patient.birthdate": dates,
    "patient._id": st.sampled_from(["p1", "p1,p2"]),
    "patient.name": texts,
    "focus:ServiceRequest.status": st.sampled_from(["active", "draft"]),
    "focus:ServiceRequest.code": tokens,
    "part-of.status": st.sampled_from(["requested", "accepted"]),
    "_has:Task:part-of:status": st.sampled_from(["requested", "accepted"]),
}
QUESTIONS = {
    "Task": TASK_QUESTIONS,
    "ServiceRequest": {
        "patient": PEOPLE,
        "category": tokens,
        "code": tokens,
        "code:not": tokens,
        "authored": dates,
        "status": st.sampled_from(["active", "draft"]),
        "_has:Task:focus:status": st.sampled_from(["requested", "accepted"]),
        "_has:Task:focus:owner": PARTIES,
        "patient.name:exact": st.sampled_from(NAMES),
    },
    "Patient": {
        "name": texts,
        "family": texts,
        "name:exact": st.sampled_from(NAMES),
        "name:contains": texts,
        "given:missing": booleans,
        "birthdate": dates,
        "identifier": tokens,
        "_has:Task:patient:business-status": tokens,
        "_has:ServiceRequest:subject:code": tokens,
    },
}
SORTS = {
    "Task": ["_lastUpdated", "_id", "status", "owner", "authored-on", "business-status", "part-of"],
    "ServiceRequest": ["_lastUpdated", "_id", "authored", "code", "patient"],
    "Patient": ["_lastUpdated", "_id", "family", "birthdate", "identifier"],
}


@st.composite
def questions(draw: st.DrawFn) -> list[tuple[str, list[tuple[str, str]]]]:
    """Some questions to the same shelf: each a type and its pairs."""
    asked = []
    for _ in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(["Task", "Task", "ServiceRequest", "Patient"]))
        chosen = draw(st.lists(st.sampled_from(sorted(QUESTIONS[kind])), max_size=3))
        pairs = [(name, draw(QUESTIONS[kind][name])) for name in chosen]
        keys = draw(st.lists(st.sampled_from(SORTS[kind]), max_size=2, unique=True))
        if keys:
            pairs.append(
                ("_sort", ",".join(draw(st.sampled_from(["", "-"])) + key for key in keys))
            )
        asked.append((kind, pairs))
    return asked


@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(shelf=shelves, asked=questions(), limit=st.integers(1, 5))
async def test_a_search_finds_what_a_plain_reading_of_the_standard_finds(
    store: Store, shelf: list[tuple[dict[str, Any], int]], asked: Any, limit: int
) -> None:
    kept = [Kept(body, NOON + timedelta(minutes=minute)) for body, minute in shelf]
    queries = [parse_query(kind, pairs) for kind, pairs in asked]
    await store.write(fill, kept)

    pages = [await store.read_snapshot(all_pages, query, limit) for query in queries]
    totals = [await store.read(count, query) for query in queries]

    expected = [found(query, kept) for query in queries]
    assert list(zip(asked, pages, strict=True)) == list(zip(asked, expected, strict=True))
    assert totals == [len(ids) for ids in expected]


def fill(conn: Connection, kept: list[Kept]) -> None:
    """Let these resources, and no others, be stored."""
    for table in (*INDEX_TABLES, resource, resource_version):
        conn.execute(delete(table))
    save(conn, [NewVersion(one.resource, 1, one.at, method="POST") for one in kept])


def all_pages(conn: Connection, query: Query, limit: int) -> list[str]:
    """The ids of all matches, by pages of `limit`."""
    page = search(conn, query, limit=limit)
    ids = [stored.id for stored in page.matches]
    while page.end:
        page = search(conn, query, limit=limit, place=page.end)
        ids += [stored.id for stored in page.matches]
    return ids
