"""Transactions read in processing order, answers written as FHIR wants them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_hub_bridge.errors import ResourceRejected
from fhir_hub_bridge.fhir.bundle import (
    DeletedVersion,
    Entry,
    EntryResponse,
    HistoryVersion,
    history_bundle,
    read_transaction,
    searchset,
    transaction_response,
)
from fhir_hub_bridge.fhir.outcome import operation_outcome, status_of
from fhir_hub_bridge.fhir.validation import issues_of

Json = dict[str, Any]
TASK: Json = {"resourceType": "Task", "id": "t1", "status": "requested", "intent": "order"}
BASE = "https://us.example/fhir"


def an_entry(method: str, url: str, resource: Json | None = None, **more: Any) -> Json:
    request = {"method": method, "url": url}
    request.update({key: more.pop(key) for key in ("ifMatch", "ifNoneExist") if key in more})
    entry: Json = {"request": request, **more}
    if resource is not None:
        entry["resource"] = resource
    return entry


def a_transaction(*entries: Any) -> Json:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def refused(bundle: Json) -> list[tuple[str, str]]:
    with pytest.raises(ResourceRejected) as caught:
        read_transaction(bundle, bases=[BASE])
    return [(issue.place, issue.rule) for issue in caught.value.issues]


def test_entries_come_in_processing_order_and_remember_their_place() -> None:
    bundle = a_transaction(
        an_entry("GET", "Task?status=requested"),
        an_entry("PUT", "Task/t1", TASK, ifMatch='W/"3"'),
        an_entry("POST", "Patient", {"resourceType": "Patient"}, fullUrl="urn:uuid:1"),
        an_entry("POST", "Task", {"resourceType": "Task"}, ifNoneExist="identifier=a|b"),
    )

    entries = read_transaction(bundle)

    assert entries == (
        Entry(2, "urn:uuid:1", "POST", "Patient", resource={"resourceType": "Patient"}),
        Entry(
            3,
            None,
            "POST",
            "Task",
            if_none_exist="identifier=a|b",
            resource={"resourceType": "Task"},
        ),
        Entry(1, None, "PUT", "Task", id="t1", if_match=3, resource=TASK),
        Entry(0, None, "GET", "Task", query="status=requested"),
    )


def test_conditional_update_and_our_own_absolute_url_are_read() -> None:
    bundle = a_transaction(
        an_entry("PUT", "Communication?identifier=s|1", {"resourceType": "Communication"}),
        an_entry("PUT", f"{BASE}/Task/t1", TASK),
    )

    first, second = read_transaction(bundle, bases=[BASE])

    assert (first.id, first.query) == (None, "identifier=s|1")
    assert (second.type, second.id) == ("Task", "t1")


def test_bundle_without_entries_is_an_empty_transaction() -> None:
    assert read_transaction({"resourceType": "Bundle", "type": "transaction"}) == ()


@pytest.mark.parametrize(
    ("entry", "place", "rule"),
    [
        ("x", "", "bundle-request"),
        ({"resource": TASK}, "", "bundle-request"),
        (an_entry("DELETE", "Task?identifier=s|1"), ".request.url", "bundle-url"),
        (an_entry("DELETE", "Task/t1/_history/1"), ".request.url", "bundle-url"),
        (an_entry("PATCH", "Task/t1", TASK), ".request.method", "bundle-method"),
        (an_entry("FETCH", "Task/t1"), ".request.method", "bundle-method"),
        (an_entry("POST", "Patient", TASK), ".request.url", "bundle-url"),
        (an_entry("POST", "Task/t1", TASK), ".request.url", "bundle-url"),
        (an_entry("PUT", "Task", TASK), ".request.url", "bundle-url"),
        (an_entry("PUT", "Task/t2", TASK), ".resource.id", "bundle-url"),
        (an_entry("PUT", "Task/..", TASK), ".request.url", "bundle-url"),
        (an_entry("PUT", "Task/t1?x=y", TASK), ".request.url", "bundle-url"),
        (an_entry("GET", "https://them.example/Task/1"), ".request.url", "bundle-url"),
        (an_entry("POST", "Task"), ".resource", "bundle-resource"),
        (an_entry("PUT", "Task/t1", TASK, ifMatch="three"), ".request.ifMatch", "bundle-if-match"),
        (an_entry("PUT", "Task/t1", TASK, ifMatch=3), ".request.ifMatch", "bundle-if-match"),
        (
            an_entry("POST", "Task", TASK, ifNoneExist=3),
            ".request.ifNoneExist",
            "bundle-if-none-exist",
        ),
        (an_entry("POST", "Task", TASK, fullUrl="Task/t1"), ".fullUrl", "bundle-full-url"),
    ],
)
def test_faulty_entry_is_refused_at_its_place(entry: Any, place: str, rule: str) -> None:
    assert refused(a_transaction(entry)) == [(f"Bundle.entry[0]{place}", rule)]


def test_all_faults_are_told_at_once() -> None:
    bundle = a_transaction(an_entry("FETCH", "Task/1"), {}, an_entry("PUT", "Task/t1", TASK))

    assert [place for place, _ in refused(bundle)] == [
        "Bundle.entry[0].request.method",
        "Bundle.entry[1]",
    ]


def test_same_full_url_or_same_target_twice_is_refused() -> None:
    bundle = a_transaction(
        an_entry("POST", "Task", TASK, fullUrl="urn:uuid:1"),
        an_entry("PUT", "Task/t1", TASK, fullUrl="urn:uuid:1"),
        an_entry("PUT", "Task/t1", TASK, fullUrl="urn:uuid:2"),
        an_entry("DELETE", "Task/t1"),
    )

    assert refused(bundle) == [
        ("Bundle.entry[1].fullUrl", "bundle-full-url"),
        ("Bundle.entry[2].request.url", "bundle-url"),
        ("Bundle.entry[3].request.url", "bundle-url"),
    ]


def test_deletions_come_first_and_reads_of_any_kind_last() -> None:
    bundle = a_transaction(
        an_entry("HEAD", "Task/t1"),
        an_entry("GET", "Task/t1/_history/2"),
        an_entry("PUT", "Task/t1", TASK),
        an_entry("DELETE", "Task/t2"),
    )

    assert [entry.method for entry in read_transaction(bundle)] == ["DELETE", "PUT", "HEAD", "GET"]


def test_more_than_500_entries_are_too_many() -> None:
    bundle = a_transaction(*[an_entry("GET", "Task/1")] * 501)

    assert refused(bundle) == [("Bundle.entry", "bundle-size")]
    assert len(read_transaction(a_transaction(*[an_entry("GET", "Task/1")] * 500))) == 500


def test_only_a_transaction_is_one() -> None:
    assert refused({"resourceType": "Bundle", "type": "batch"}) == [("Bundle.type", "bundle-type")]
    assert refused({"resourceType": "Task", "type": "transaction"}) == [
        ("Bundle.type", "bundle-type")
    ]
    assert refused({"resourceType": "Bundle", "type": "transaction", "entry": {}}) == [
        ("Bundle.entry", "bundle-entry")
    ]


def test_envelope_faults_answer_as_bad_requests() -> None:
    with pytest.raises(ResourceRejected) as caught:
        read_transaction(a_transaction({}))

    assert status_of(caught.value) == 400


@given(st.permutations([("GET", "Task/1"), ("PUT", "Task/t1"), ("POST", "Task"), ("GET", "Task")]))
def test_whatever_the_order_every_entry_is_read_once(acts: list[tuple[str, str]]) -> None:
    bundle = a_transaction(
        *(an_entry(method, url, TASK if method != "GET" else None) for method, url in acts)
    )

    entries = read_transaction(bundle)

    assert sorted(entry.index for entry in entries) == [0, 1, 2, 3]
    assert [entry.method for entry in entries] == ["POST", "PUT", "GET", "GET"]


def test_answers_are_valid_bundles() -> None:
    task = {**TASK, "meta": {"versionId": "2", "lastUpdated": "2026-03-02T17:00:05.000Z"}}
    response = transaction_response(
        [
            EntryResponse("201 Created", location="Task/t1/_history/1", etag='W/"1"'),
            EntryResponse("200 OK", resource=task, outcome=operation_outcome([])),
        ]
    )
    found = searchset(
        [task], base=BASE + "/", total=1, self_url=f"{BASE}/Task", outcome=operation_outcome([])
    )
    history = history_bundle(
        [
            DeletedVersion("Task", "t1", 3, "2026-03-02T18:00:00.000Z"),
            HistoryVersion(task, "PUT", "200 OK"),
            HistoryVersion(TASK, "POST", "201 Created"),
        ],
        base=BASE,
        total=2,
        self_url=f"{BASE}/Task/t1/_history",
        next_url=f"{BASE}/Task/t1/_history?page=2",
    )

    for bundle in (response, found, history):
        assert issues_of(bundle) == []
    assert response["entry"][0] == {
        "response": {"status": "201 Created", "location": "Task/t1/_history/1", "etag": 'W/"1"'}
    }
    assert found["total"] == 1
    assert found["entry"][0]["fullUrl"] == f"{BASE}/Task/t1"
    assert [entry["search"]["mode"] for entry in found["entry"]] == ["match", "outcome"]
    assert [link["relation"] for link in history["link"]] == ["self", "next"]
    assert "resource" not in history["entry"][0]
    assert history["entry"][1]["response"]["etag"] == 'W/"2"'
    assert [entry["request"]["url"] for entry in history["entry"]] == ["Task/t1", "Task/t1", "Task"]


def test_empty_page_has_no_empty_array() -> None:
    assert searchset([], base=BASE, total=0, self_url=f"{BASE}/Task") == {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": 0,
        "link": [{"relation": "self", "url": f"{BASE}/Task"}],
    }
