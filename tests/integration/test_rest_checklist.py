"""What testers of a FHIR server try: conditions, patches, deletions, Bundles, histories, refusals.

One test for each behaviour, on both databases.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import httpx
import pytest
from tests.api_client import BASE, NOON, a_bridge, a_client, a_task, keep, register, the_outcome
from tests.console_stories import BRIDGES, CLINIC, HEART, PLAN
from tests.rest_requests import (
    JSON_PATCH,
    NUMBERS,
    a_bundle,
    a_person,
    a_referral_of,
    all_rows,
    an_entry,
    created,
    send,
    statuses,
    the_rule,
)

from fhir_hub_bridge.store.transaction import Store

ANN, BEN = ("urn:uuid:7d0d2e0a-0000-4000-8000-000000000011", "urn:uuid:7d0d2e0a-0000-4000-8000-12")


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    await register(store, [PLAN, CLINIC, HEART, BRIDGES])
    async with a_client(a_bridge(store)) as open_client:
        yield open_client


# conditional create


async def test_conditional_create_creates_where_nothing_matches(client: httpx.AsyncClient) -> None:
    answer = await send(
        client, "POST", "/fhir/Patient", a_person("1"), If_None_Exist=f"identifier={NUMBERS}|1"
    )

    assert answer.status_code == 201
    assert answer.headers["etag"] == 'W/"1"'


async def test_conditional_create_answers_with_the_one_that_matches(
    store: Store, client: httpx.AsyncClient
) -> None:
    known = await created(client, a_person("1"))
    before = await all_rows(store)

    answer = await send(
        client,
        "POST",
        "/fhir/Patient",
        a_person("1", active=True),
        If_None_Exist=f"?identifier={NUMBERS}%7C1",
    )

    assert answer.status_code == 200
    assert answer.headers["location"].endswith(f"/{known}/_history/1")
    assert answer.headers["etag"] == 'W/"1"'
    assert "active" not in answer.json()
    after = await all_rows(store)
    assert {**after, "answered_request": 0} == {**before, "answered_request": 0}


async def test_a_condition_finds_no_member_of_another_party(client: httpx.AsyncClient) -> None:
    known = await created(client, a_person("1"), X_Partner="clinic")
    asked = f"identifier={NUMBERS}|1"

    none = await send(
        client,
        "POST",
        "/fhir",
        a_referral_of(f"Patient?{asked}"),
        X_Partner="bridges",
    )
    other = await send(
        client, "POST", "/fhir/Patient", a_person("1"), If_None_Exist=asked, X_Partner="bridges"
    )
    changed = await send(client, "PUT", f"/fhir/Patient?{asked}", a_person("1"))
    again = await send(
        client, "POST", "/fhir/Patient", a_person("1"), If_None_Exist=asked, X_Partner="clinic"
    )

    assert (none.status_code, the_rule(none)) == (412, "none-match")
    assert (other.status_code, changed.status_code) == (201, 201)
    assert (again.status_code, again.json()["id"]) == (200, known.partition("/")[2])


async def test_conditional_create_is_refused_where_several_match(
    client: httpx.AsyncClient,
) -> None:
    for family in ("One", "Two"):
        await created(client, a_person("1", name=[{"family": family}]))

    answer = await send(
        client, "POST", "/fhir/Patient", a_person("1"), If_None_Exist=f"identifier={NUMBERS}|1"
    )

    assert answer.status_code == 412
    assert the_outcome(answer)["code"] == "multiple-matches"


@pytest.mark.parametrize("condition", ["colour=blue", "_count=1", "identifier=", "%%", " "])
async def test_a_condition_that_is_no_search_is_refused(
    store: Store, client: httpx.AsyncClient, condition: str
) -> None:
    before = await all_rows(store)

    answer = await send(client, "POST", "/fhir/Patient", a_person(), If_None_Exist=f"{condition}&x")

    assert answer.status_code == 400
    assert await all_rows(store) == before


async def test_conditional_creates_at_once_create_one(
    store: Store, client: httpx.AsyncClient
) -> None:
    answers = await asyncio.gather(
        *(
            send(
                client,
                "POST",
                "/fhir/Patient",
                a_person("1", name=[{"family": f"Example {number}"}]),
                If_None_Exist=f"identifier={NUMBERS}|1",
            )
            for number in range(8)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (await all_rows(store))["resource"] == 1


async def test_conditional_creates_in_bundles_at_once_create_one(
    store: Store, client: httpx.AsyncClient
) -> None:
    def bundle(number: int) -> dict[str, Any]:
        people = [a_person(n, name=[{"family": f"Example {number}"}]) for n in ("1", "2")]
        entries = [
            an_entry(
                "POST",
                "Patient",
                person,
                ifNoneExist=f"identifier={NUMBERS}|{person['identifier'][0]['value']}",
            )
            for person in people
        ]
        return a_bundle("transaction", *(entries if number % 2 else reversed(entries)))

    answers = await asyncio.gather(
        *(send(client, "POST", "/fhir", bundle(number)) for number in range(6))
    )

    assert all(answer.status_code == 200 for answer in answers)
    assert sorted(status for answer in answers for status in statuses(answer)).count("201") == 2
    assert (await all_rows(store))["resource"] == 2


async def test_in_a_transaction_references_go_to_the_one_that_matched(
    client: httpx.AsyncClient,
) -> None:
    known = await created(client, a_person("1"))
    observed = {
        "resourceType": "Coverage",
        "status": "active",
        "beneficiary": {"reference": ANN},
        "payor": [{"reference": "Organization/sunrise"}],
    }

    answer = await send(
        client,
        "POST",
        "/fhir",
        a_bundle(
            "transaction",
            an_entry(
                "POST",
                "Patient",
                a_person("1"),
                fullUrl=ANN,
                ifNoneExist=f"identifier={NUMBERS}|1",
            ),
            an_entry("POST", "Coverage", observed),
        ),
    )

    assert statuses(answer) == ["200", "201"]
    first, second = (entry["response"] for entry in answer.json()["entry"])
    assert first["location"] == f"{known}/_history/1"
    coverage = (await client.get(f"/fhir/{second['location']}")).json()
    assert coverage["beneficiary"]["reference"] == known


# conditional update


async def test_conditional_update_creates_updates_or_refuses(client: httpx.AsyncClient) -> None:
    address = f"/fhir/Patient?identifier={NUMBERS}|1"

    first = await send(client, "PUT", address, a_person("1"))
    second = await send(client, "PUT", address, a_person("1", active=True))
    stale = await send(client, "PUT", address, a_person("1"), If_Match='W/"1"')
    other = await send(client, "PUT", address, a_person("1", id="another"))
    await created(client, a_person("1", name=[{"family": "Second"}]))
    several = await send(client, "PUT", address, a_person("1"))

    assert first.status_code == 201
    assert (second.status_code, second.headers["etag"]) == (200, 'W/"2"')
    assert second.json()["id"] == first.json()["id"]
    assert stale.status_code == 412
    assert other.status_code == 400
    assert several.status_code == 412


async def test_conditional_update_gives_no_id_of_the_client_s(client: httpx.AsyncClient) -> None:
    answer = await send(
        client, "PUT", f"/fhir/Patient?identifier={NUMBERS}|9", a_person("9", id="mine")
    )

    assert answer.status_code == 422
    assert the_rule(answer) == "update-create"


async def test_conditional_update_works_in_a_transaction(client: httpx.AsyncClient) -> None:
    known = await created(client, a_person("1"))

    answer = await send(
        client,
        "POST",
        "/fhir",
        a_bundle(
            "transaction",
            an_entry("PUT", f"Patient?identifier={NUMBERS}|1", a_person("1", active=True)),
            an_entry("PUT", f"Patient?identifier={NUMBERS}|2", a_person("2")),
        ),
    )

    assert statuses(answer) == ["200", "201"]
    assert answer.json()["entry"][0]["response"]["location"] == f"{known}/_history/2"


async def test_a_conditional_update_of_a_tracked_task_goes_through_the_rules(
    client: httpx.AsyncClient,
) -> None:
    patient = await created(client, a_person(), X_Partner="clinic")
    own = {"identifier": [{"system": "https://ehr.example/tasks", "value": "T-1"}]}
    referred = await send(
        client, "POST", "/fhir", a_referral_of(patient, task=own), X_Partner="clinic"
    )
    location = referred.json()["entry"][1]["response"]["location"]
    task = (await client.get(f"/fhir/{location}")).json()
    address = "/fhir/Task?identifier=https://ehr.example/tasks|T-1"

    leap = await send(client, "PUT", address, task | {"status": "completed"}, X_Partner="sunrise")
    step = await send(client, "PUT", address, task | {"status": "accepted"}, X_Partner="sunrise")

    assert (leap.status_code, the_rule(leap)) == (422, "task-transition")
    assert (step.status_code, step.json()["status"]) == (200, "accepted")


async def test_the_same_condition_twice_in_a_transaction_is_refused(
    store: Store, client: httpx.AsyncClient
) -> None:
    before = await all_rows(store)
    twice = [an_entry("POST", "Patient", a_person("1"), ifNoneExist=f"identifier={NUMBERS}|1")] * 2

    answer = await send(client, "POST", "/fhir", a_bundle("transaction", *twice))

    assert answer.status_code == 400
    assert the_rule(answer) == "condition-twice"
    assert await all_rows(store) == before


# conditional references


async def test_conditional_references_are_resolved(client: httpx.AsyncClient) -> None:
    known = await created(client, a_person("1"), X_Partner="clinic")
    reference = f"Patient?identifier={NUMBERS}|1"

    answer = await send(client, "POST", "/fhir", a_referral_of(reference), X_Partner="clinic")

    assert statuses(answer) == ["201", "201"]
    location = answer.json()["entry"][1]["response"]["location"]
    assert (await client.get(f"/fhir/{location}")).json()["for"]["reference"] == known


async def test_a_conditional_reference_names_exactly_one(
    store: Store, client: httpx.AsyncClient
) -> None:
    for family in ("One", "Two"):
        await created(client, a_person("1", name=[{"family": family}]), X_Partner="clinic")
    before = await all_rows(store)

    for number, code in (("1", "multiple-matches"), ("2", "not-found")):
        reference = f"Patient?identifier={NUMBERS}|{number}"
        answer = await send(client, "POST", "/fhir", a_referral_of(reference), X_Partner="clinic")

        assert answer.status_code == 412
        issue = the_outcome(answer)
        assert issue["code"] == code
        assert issue["expression"] == ["Bundle.entry[0].resource"]
    assert await all_rows(store) == before


# update as create


async def test_an_update_creates_nothing(store: Store, client: httpx.AsyncClient) -> None:
    before = await all_rows(store)

    answer = await send(client, "PUT", "/fhir/Patient/mine", a_person(id="mine"))

    assert answer.status_code == 404
    assert "POST" in the_outcome(answer)["details"]["text"]
    assert await all_rows(store) == before


# JSON Patch


async def patch(
    client: httpx.AsyncClient, path: str, operations: Any, **headers: str
) -> httpx.Response:
    return await send(
        client, "PATCH", f"/fhir/{path}", operations, **{"Content_Type": JSON_PATCH, **headers}
    )


async def test_a_patch_makes_the_next_version(client: httpx.AsyncClient) -> None:
    known = await created(client, a_person())

    answer = await patch(
        client,
        known,
        [
            {"op": "test", "path": "/name/0/family", "value": "Example"},
            {"op": "replace", "path": "/name/0/family", "value": "Changed"},
            {"op": "add", "path": "/active", "value": True},
        ],
        If_Match='W/"1"',
    )

    assert (answer.status_code, answer.headers["etag"]) == (200, 'W/"2"')
    assert answer.json()["name"][0]["family"] == "Changed"
    assert (await client.get(f"/fhir/{known}")).json() == answer.json()


@pytest.mark.parametrize(
    ("operations", "status"),
    [
        (b"{}", 400),
        (b"[", 400),
        ([{"op": "paint", "path": "/active"}], 400),
        ([{"op": "add", "path": "active", "value": True}], 400),
        ([{"op": "add", "path": "/active"}], 400),
        (["add"], 400),
        ([{"op": "test", "path": "/name/0/family", "value": "Else"}], 422),
        ([{"op": "remove", "path": "/birthDate"}], 422),
        ([{"op": "replace", "path": "/name/7/family", "value": "x"}], 422),
        ([{"op": "add", "path": "/colour", "value": "blue"}], 422),
        ([{"op": "add", "path": "/birthDate", "value": "yesterday"}], 422),
        ([{"op": "replace", "path": "/id", "value": "other"}], 400),
        ([{"op": "remove", "path": "/resourceType"}], 400),
        ([{"op": "replace", "path": "", "value": []}], 400),
        ([{"op": "add", "path": "/name/-", "value": {}}] * 201, 400),
        ([{"op": "copy", "from": "/name", "path": "/name/-"}] * 200, 422),
    ],
)
async def test_a_patch_that_cannot_be_is_refused(
    store: Store, client: httpx.AsyncClient, operations: Any, status: int
) -> None:
    known = await created(client, a_person())
    before = await all_rows(store)

    answer = await patch(client, known, operations)

    assert answer.status_code == status, answer.text
    the_outcome(answer)
    assert await all_rows(store) == before


async def test_a_patch_of_a_stale_version_is_refused(client: httpx.AsyncClient) -> None:
    known = await created(client, a_person())
    change = [{"op": "add", "path": "/active", "value": True}]
    await patch(client, known, change)

    stale = await patch(client, known, change, If_Match='W/"1"')
    other_kind = await patch(client, known, change, Content_Type="application/fhir+json")
    nobody = await patch(client, "Patient/nobody", change)

    assert stale.status_code == 412
    assert other_kind.status_code == 415
    assert other_kind.headers["accept-patch"] == JSON_PATCH
    assert nobody.status_code == 404


async def test_patches_at_once_lose_nothing(client: httpx.AsyncClient) -> None:
    known = await created(client, a_person())

    answers = await asyncio.gather(
        *(
            patch(client, known, [{"op": "add", "path": "/name/-", "value": {"family": f"N{n}"}}])
            for n in range(4)
        )
    )

    assert [answer.status_code for answer in answers] == [200] * 4
    assert len((await client.get(f"/fhir/{known}")).json()["name"]) == 5


async def test_a_patch_sent_again_with_its_key_is_done_once(client: httpx.AsyncClient) -> None:
    known = await created(client, a_person())
    more = [{"op": "add", "path": "/name/-", "value": {"family": "Second"}}]

    first = await patch(client, known, more, Idempotency_Key="k-1")
    again = await patch(client, known, more, Idempotency_Key="k-1")

    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert len((await client.get(f"/fhir/{known}")).json()["name"]) == 2


async def test_a_patch_of_a_tracked_task_goes_through_the_rules(
    client: httpx.AsyncClient,
) -> None:
    patient = await created(client, a_person(), X_Partner="clinic")
    referred = await send(client, "POST", "/fhir", a_referral_of(patient), X_Partner="clinic")
    task = referred.json()["entry"][1]["response"]["location"].partition("/_history")[0]

    leap = [{"op": "replace", "path": "/status", "value": "completed"}]
    step = [{"op": "replace", "path": "/status", "value": "accepted"}]
    refused = await patch(client, task, leap, X_Partner="sunrise")
    other = await patch(client, task, step, X_Partner="bridges")
    taken = await patch(client, task, step, X_Partner="sunrise")

    assert (refused.status_code, the_rule(refused)) == (422, "task-transition")
    assert (other.status_code, the_rule(other)) == (422, "wrong-party")
    assert (taken.status_code, taken.json()["status"]) == (200, "accepted")


# conditional read, Prefer, HEAD, OPTIONS, gzip


async def test_a_reader_that_has_the_version_is_told_so(client: httpx.AsyncClient) -> None:
    known = await created(client, a_person())
    seen = await client.get(f"/fhir/{known}")
    cases = [
        ({"If-None-Match": seen.headers["etag"]}, 304),
        ({"If-None-Match": 'W/"7"'}, 200),
        ({"If-Modified-Since": seen.headers["last-modified"]}, 304),
        ({"If-Modified-Since": "Fri, 20 Nov 2026 19:59:59 GMT"}, 200),
        ({"If-Modified-Since": "whenever"}, 200),
        ({"If-None-Match": 'W/"7"', "If-Modified-Since": seen.headers["last-modified"]}, 200),
    ]

    for headers, status in cases:
        answer = await client.get(f"/fhir/{known}", headers=headers)

        assert answer.status_code == status, headers
        assert answer.headers["etag"] == 'W/"1"'
        assert bool(answer.content) == (status == 200)


async def test_options_and_head_tell_what_a_get_would(client: httpx.AsyncClient) -> None:
    known = await created(client, a_person())

    options = await client.options(f"/fhir/{known}")
    head, get = await client.head(f"/fhir/{known}"), await client.get(f"/fhir/{known}")

    assert options.status_code == 204
    assert options.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"
    assert head.status_code == 200
    assert head.headers["etag"] == get.headers["etag"]
    assert head.headers["content-type"] == get.headers["content-type"]


async def test_large_answers_are_compressed_for_whom_takes_it(client: httpx.AsyncClient) -> None:
    known = await created(client, a_person(name=[{"family": "Example"}] * 200))

    plain = await client.get(f"/fhir/{known}", headers={"Accept-Encoding": "identity"})
    packed = await client.get(f"/fhir/{known}", headers={"Accept-Encoding": "gzip"})
    small = await client.get("/fhir/Patient/nobody", headers={"Accept-Encoding": "gzip"})
    known_already = await client.get(
        f"/fhir/{known}", headers={"Accept-Encoding": "gzip", "If-None-Match": 'W/"1"'}
    )

    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["etag"] == plain.headers["etag"]
    assert "Accept-Encoding" in packed.headers["vary"]
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < len(plain.content)
    assert len(gzip.compress(plain.content)) < len(plain.content)
    assert "content-encoding" not in small.headers
    assert (known_already.status_code, known_already.content) == (304, b"")


# delete


async def test_a_deleted_resource_is_gone_and_its_history_stays(
    client: httpx.AsyncClient,
) -> None:
    known = await created(client, a_person("1"))

    deleted = await client.delete(f"/fhir/{known}")
    again = await client.delete(f"/fhir/{known}")
    never = await client.delete("/fhir/Patient/nobody")
    read = await client.get(f"/fhir/{known}")
    first = await client.get(f"/fhir/{known}/_history/1")
    last = await client.get(f"/fhir/{known}/_history/2")
    history = (await client.get(f"/fhir/{known}/_history")).json()
    found = (await client.get("/fhir/Patient", params={"identifier": f"{NUMBERS}|1"})).json()

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert deleted.headers["etag"] == 'W/"2"'
    assert (again.status_code, never.status_code) == (204, 204)
    assert (read.status_code, the_outcome(read)["code"]) == (410, "deleted")
    assert (first.status_code, last.status_code) == (200, 410)
    assert [entry["request"]["method"] for entry in history["entry"]] == ["DELETE", "POST"]
    assert "resource" not in history["entry"][0]
    assert found["total"] == 0


async def test_a_deleted_resource_may_come_back(client: httpx.AsyncClient) -> None:
    known = await created(client, a_person("1"))
    await client.delete(f"/fhir/{known}")
    body = a_person("1", id=known.partition("/")[2])

    stale = await send(client, "PUT", f"/fhir/{known}", body, If_Match='W/"1"')
    back = await send(client, "PUT", f"/fhir/{known}", body)
    anew = await send(client, "POST", "/fhir/Patient", a_person("1"))

    assert stale.status_code == 412
    assert (back.status_code, back.headers["etag"]) == (201, 'W/"3"')
    assert (await client.get(f"/fhir/{known}")).status_code == 200
    assert anew.status_code == 201


async def test_a_deleted_resource_comes_back_by_its_sender_alone(
    client: httpx.AsyncClient,
) -> None:
    known = await created(client, a_person("1"), X_Partner="clinic")
    await send(client, "DELETE", f"/fhir/{known}", X_Partner="clinic")
    body = a_person("2", id=known.partition("/")[2])

    other = await send(client, "PUT", f"/fhir/{known}", body, X_Partner="bridges")
    bundle = a_bundle("transaction", an_entry("PUT", known, body))
    bundled = await send(client, "POST", "/fhir", bundle, X_Partner="bridges")
    own = await send(client, "PUT", f"/fhir/{known}", body, X_Partner="clinic")

    assert (other.status_code, the_rule(other)) == (422, "wrong-party")
    assert (bundled.status_code, the_rule(bundled)) == (422, "wrong-party")
    assert own.status_code == 201


async def test_what_was_deleted_is_not_the_answer_to_the_same_create(
    client: httpx.AsyncClient,
) -> None:
    known = await created(client, a_person())
    await client.delete(f"/fhir/{known}")

    again = await created(client, a_person())
    repeated = await created(client, a_person())

    assert again != known
    assert repeated == again


async def test_only_its_sender_deletes_and_only_the_version_it_names(
    client: httpx.AsyncClient,
) -> None:
    known = await created(client, a_person(), X_Partner="clinic")

    other = await send(client, "DELETE", f"/fhir/{known}", X_Partner="bridges")
    stale = await send(client, "DELETE", f"/fhir/{known}", X_Partner="clinic", If_Match='W/"9"')
    own = await send(client, "DELETE", f"/fhir/{known}", X_Partner="clinic", If_Match='W/"1"')

    assert (other.status_code, the_rule(other)) == (422, "wrong-party")
    assert stale.status_code == 412
    assert own.status_code == 204


async def test_what_a_referral_rests_on_is_not_deleted(
    store: Store, client: httpx.AsyncClient
) -> None:
    patient = await created(client, a_person(), X_Partner="clinic")
    referred = await send(client, "POST", "/fhir", a_referral_of(patient), X_Partner="clinic")
    own = [entry["response"]["location"] for entry in referred.json()["entry"]]
    before = await all_rows(store)

    for name in (patient, *(location.partition("/_history")[0] for location in own)):
        answer = await send(client, "DELETE", f"/fhir/{name}", X_Partner="clinic")

        assert (answer.status_code, the_rule(answer)) == (422, "part-of-referral"), name
    assert await all_rows(store) == before


async def test_whatever_a_referral_names_is_not_deleted(client: httpx.AsyncClient) -> None:
    patient = await created(client, a_person(), X_Partner="clinic")
    asks = {"resourceType": "Organization", "name": "Elm Street Clinic, second floor"}
    asks_name = await created(client, asks, X_Partner="clinic")
    place = {"resourceType": "Location", "name": "The second floor"}
    place_name = await created(client, place, X_Partner="clinic")
    bundle = a_referral_of(patient, task={"location": {"reference": f"{BASE}/fhir/{place_name}"}})
    bundle["entry"][0]["resource"]["performer"] = [{"reference": f"{asks_name}/_history/1"}]
    referred = await send(client, "POST", "/fhir", bundle, X_Partner="clinic")
    assert referred.status_code == 200, referred.text

    for name in (asks_name, place_name):
        answer = await send(client, "DELETE", f"/fhir/{name}", X_Partner="clinic")

        assert (answer.status_code, the_rule(answer)) == (422, "part-of-referral"), name


async def test_references_to_this_server_are_relative_once_stored(
    client: httpx.AsyncClient,
) -> None:
    patient = await created(client, a_person(), X_Partner="clinic")
    here, there = f"{BASE}/fhir", "http://localhost:8480/fhir"
    request = f"{here}/ServiceRequest/mine"
    bundle = a_referral_of(f"{there}/{patient}", task={"focus": {"reference": request}})
    bundle["entry"][0]["fullUrl"] = request
    sent = bundle["entry"][0]["resource"]
    sent["identifier"][0]["value"] = f"{there}/{patient}"
    sent["performer"] = [{"reference": "https://elsewhere.example/fhir/Organization/o1"}]

    answer = await send(client, "POST", "/fhir", bundle, X_Partner="clinic", Host="localhost:8480")
    names = [entry["response"]["location"] for entry in answer.json()["entry"]]
    stored, task = [(await client.get(f"/fhir/{name}")).json() for name in names]
    found = (await client.get("/fhir/ServiceRequest", params={"subject": patient})).json()
    deleted = await send(client, "DELETE", f"/fhir/{patient}", X_Partner="clinic")

    assert stored["subject"] == task["for"] == {"reference": patient}
    assert task["focus"] == {"reference": f"ServiceRequest/{stored['id']}"}
    assert stored["identifier"] == sent["identifier"]
    assert stored["performer"] == sent["performer"]
    assert stored["id"] in [entry["resource"]["id"] for entry in found["entry"]]
    assert (deleted.status_code, the_rule(deleted)) == (422, "part-of-referral")


async def test_a_person_is_deleted_or_referred_never_both(client: httpx.AsyncClient) -> None:
    for number in range(4):
        patient = await created(client, a_person(str(number)), X_Partner="clinic")
        bundle = a_referral_of(patient, f"R-{number}")

        referred, deleted = await asyncio.gather(
            send(client, "POST", "/fhir", bundle, X_Partner="clinic"),
            send(client, "DELETE", f"/fhir/{patient}", X_Partner="clinic"),
        )

        assert (referred.status_code, deleted.status_code) in ((200, 422), (422, 204))


async def test_conditional_delete_is_not_offered(client: httpx.AsyncClient) -> None:
    await created(client, a_person("1"))

    alone = await client.delete("/fhir/Patient", params={"identifier": f"{NUMBERS}|1"})
    bundled = await send(
        client,
        "POST",
        "/fhir",
        a_bundle("transaction", an_entry("DELETE", f"Patient?identifier={NUMBERS}|1")),
    )

    assert alone.status_code == 405
    assert bundled.status_code == 400


# transaction


async def test_a_transaction_deletes_creates_updates_and_reads_in_that_order(
    client: httpx.AsyncClient,
) -> None:
    old, kept = await created(client, a_person("1")), await created(client, a_person("2"))
    changed = a_person("2", id=kept.partition("/")[2], active=True)

    answer = await send(
        client,
        "POST",
        "/fhir",
        a_bundle(
            "transaction",
            an_entry("GET", kept),
            an_entry("HEAD", kept),
            an_entry("GET", f"Patient?identifier={NUMBERS}|3"),
            an_entry("GET", f"{kept}/_history/1"),
            an_entry("PUT", kept, changed, ifMatch='W/"1"'),
            an_entry("POST", "Patient", a_person("3")),
            an_entry("DELETE", old),
        ),
    )

    assert statuses(answer) == ["200", "200", "200", "200", "200", "201", "204"]
    entries = answer.json()["entry"]
    assert entries[0]["resource"]["active"] is True
    assert "resource" not in entries[1]
    assert entries[1]["response"]["etag"] == 'W/"2"'
    assert entries[2]["resource"]["total"] == 1
    assert "active" not in entries[3]["resource"]
    assert entries[5]["response"]["lastModified"]
    assert (await client.get(f"/fhir/{old}")).status_code == 410


async def test_a_transaction_stores_all_or_nothing(store: Store, client: httpx.AsyncClient) -> None:
    known = await created(client, a_person("1"))
    changed = a_person("1", id=known.partition("/")[2], active=True)
    before = await all_rows(store)
    failing = [
        (an_entry("PUT", known, changed, ifMatch='W/"9"'), 412),
        (an_entry("PUT", "Patient/nobody", a_person(id="nobody")), 404),
        (an_entry("GET", "Patient/nobody"), 404),
        (an_entry("GET", "Patient?_lastUpdated=never"), 400),
        (an_entry("POST", "Patient", a_person(birthDate="never")), 422),
        (an_entry("DELETE", known, ifMatch='W/"9"'), 412),
        (an_entry("PATCH", known, a_person()), 400),
        (an_entry("POST", "Medication", {"resourceType": "Medication"}), 422),
    ]

    for entry, status in failing:
        bundle = a_bundle("transaction", an_entry("POST", "Patient", a_person("2")), entry)
        answer = await send(client, "POST", "/fhir", bundle)

        assert answer.status_code == status, (entry, answer.text)
        the_outcome(answer)
    assert await all_rows(store) == before


@pytest.mark.parametrize("kind", ["transaction", "batch"])
async def test_prefer_counts_for_the_entries_of_a_bundle(
    client: httpx.AsyncClient, kind: str
) -> None:
    async def entry_of(number: str, **headers: str) -> dict[str, Any]:
        bundle = a_bundle(kind, an_entry("POST", "Patient", a_person(number)))
        answer = await send(client, "POST", "/fhir", bundle, **headers)
        entry: dict[str, Any] = answer.json()["entry"][0]
        return entry

    silent = await entry_of("1")
    whole = await entry_of("2", Prefer="return=representation")
    words = await entry_of("3", Prefer="return=OperationOutcome")

    assert "resource" not in silent
    assert whole["resource"]["identifier"][0]["value"] == "2"
    assert words["response"]["outcome"]["resourceType"] == "OperationOutcome"
    assert all(entry["response"]["etag"] == 'W/"1"' for entry in (silent, whole, words))


# batch


@pytest.mark.requirement("refer-4")
async def test_each_entry_of_a_batch_stands_alone(client: httpx.AsyncClient) -> None:
    known, old = await created(client, a_person("1")), await created(client, a_person("2"))
    changed = a_person("1", id=known.partition("/")[2], active=True)

    answer = await send(
        client,
        "POST",
        "/fhir",
        a_bundle(
            "batch",
            an_entry("GET", known, ifNoneMatch='W/"2"'),
            an_entry("PUT", known, changed, ifMatch='W/"1"'),
            an_entry("PUT", known, changed | {"active": False}, ifMatch='W/"1"'),
            an_entry("POST", "Patient", a_person("3"), ifNoneExist=f"identifier={NUMBERS}|1"),
            an_entry("POST", "Patient", a_person("4", birthDate="never")),
            an_entry("DELETE", old),
            an_entry("GET", "Patient?_summary=count"),
            an_entry("GET", "Patient/nobody"),
            an_entry("GET", "https://elsewhere.example/fhir/Patient/1"),
            an_entry("POST", ""),
            an_entry("PATCH", known, changed),
            an_entry("GET", "Medication/1"),
            {"resource": changed},
        ),
    )

    assert answer.status_code == 200
    assert answer.json()["type"] == "batch-response"
    assert statuses(answer) == [
        *("304", "200", "412", "200", "422", "204", "200", "404", "400", "400", "415", "404"),
        "400",
    ]
    entries = answer.json()["entry"]
    assert entries[3]["response"]["location"].endswith(f"{known}/_history/1")
    assert entries[6]["resource"]["total"] == 1
    for number in (2, 4, 7, 8, 11):
        assert entries[number]["response"]["outcome"]["issue"][0]["severity"] == "error"


async def test_a_referral_in_a_batch_is_of_its_caller_and_guarded(
    client: httpx.AsyncClient,
) -> None:
    patient = await created(client, a_person(), X_Partner="clinic")
    referred = await send(client, "POST", "/fhir", a_referral_of(patient), X_Partner="clinic")
    location = referred.json()["entry"][1]["response"]["location"]
    task = (await client.get(f"/fhir/{location}")).json()
    change = an_entry("PUT", f"Task/{task['id']}", task | {"status": "accepted"})

    wrong = await send(client, "POST", "/fhir", a_bundle("batch", change), X_Partner="bridges")
    right = await send(client, "POST", "/fhir", a_bundle("batch", change), X_Partner="sunrise")

    assert (statuses(wrong), statuses(right)) == (["422"], ["200"])


async def test_the_reads_of_one_bundle_bring_so_many_resources_and_no_more(
    store: Store, client: httpx.AsyncClient
) -> None:
    await keep(store, *(a_task(f"t{number}") for number in range(200)))
    reads = [an_entry("GET", "Task?_count=200")] * 25
    known = an_entry("GET", "Task/t1")

    batch = await send(client, "POST", "/fhir", a_bundle("batch", *reads, known))
    refused = await send(client, "POST", "/fhir", a_bundle("transaction", *reads, known))
    taken = await send(client, "POST", "/fhir", a_bundle("transaction", *reads[1:], known))

    assert statuses(batch) == ["200"] * 25 + ["413"]
    assert batch.json()["entry"][-1]["response"]["outcome"]["issue"][0]["code"] == "too-costly"
    assert (refused.status_code, the_rule(refused)) == (413, "bundle-size")
    assert statuses(taken) == ["200"] * 25


async def test_the_form_of_a_batch_is_that_of_its_entries(client: httpx.AsyncClient) -> None:
    bundle = a_bundle(
        "batch",
        an_entry("POST", "Patient", a_person("1")),
        an_entry("GET", f"Patient?_format=xml&identifier={NUMBERS}|1"),
    )

    answer = await send(client, "POST", "/fhir", bundle)

    assert statuses(answer) == ["201", "200"]
    assert answer.json()["entry"][1]["resource"]["total"] == 1


async def test_an_empty_batch_is_answered(client: httpx.AsyncClient) -> None:
    answer = await send(client, "POST", "/fhir", {"resourceType": "Bundle", "type": "batch"})

    assert answer.json() == {"resourceType": "Bundle", "type": "batch-response"}


# history


async def test_histories_go_page_by_page_newest_first(store: Store) -> None:
    await register(store, [PLAN])
    known = ""
    for minutes in range(5):
        async with a_client(a_bridge(store, now=NOON + timedelta(minutes=minutes))) as client:
            if known:
                body = a_person(id=known.partition("/")[2], birthDate=f"199{minutes}-01-01")
                await send(client, "PUT", f"/fhir/{known}", body)
            known = known or await created(client, a_person())
            await created(client, {"resourceType": "Organization", "name": f"Example {minutes}"})

    async with a_client(a_bridge(store)) as client:
        for path, expected in ((known, 5), ("Patient", 5), ("Organization", 5), ("", 10)):
            address = f"/fhir/{path}/_history".replace("//", "/")
            pages = await all_pages(client, f"{address}?_count=2")
            seen = [entry for page in pages for entry in page["entry"]]
            times = [entry["response"]["lastModified"] for entry in seen]

            assert len(seen) == expected, path
            assert len({(e["fullUrl"], e["response"]["etag"]) for e in seen}) == expected
            assert times == sorted(times, reverse=True)
            assert all(len(page["entry"]) <= 2 for page in pages)

            since = (NOON + timedelta(minutes=3)).isoformat().replace("+00:00", "Z")
            late = (await client.get(address, params={"_since": since})).json()
            assert len(late["entry"]) == expected * 2 // 5
            assert late["link"][0]["url"].startswith(f"{BASE}{address}?_since=")


async def all_pages(client: httpx.AsyncClient, address: str) -> list[dict[str, Any]]:
    pages = [(await client.get(address)).json()]
    while links := [link["url"] for link in pages[-1]["link"] if link["relation"] == "next"]:
        pages.append((await client.get(links[0])).json())
    assert all(one["link"] != other["link"] for one, other in pairwise(pages))
    return pages


async def test_several_versions_of_one_moment_are_all_told(client: httpx.AsyncClient) -> None:
    known = await created(client, a_person())
    for number in range(4):
        body = a_person(id=known.partition("/")[2], birthDate=f"199{number}-01-01")
        await send(client, "PUT", f"/fhir/{known}", body)
    await client.delete(f"/fhir/{known}")

    for address in ("/fhir/_history", "/fhir/Patient/_history", f"/fhir/{known}/_history"):
        pages = await all_pages(client, f"{address}?_count=1")
        etags = [entry["response"]["etag"] for page in pages for entry in page["entry"]]

        assert etags == [f'W/"{number}"' for number in (6, 5, 4, 3, 2, 1)]


@pytest.mark.parametrize("asked", ["_since=never", "_count=many", "_cursor=x", "_count=-1"])
async def test_a_history_that_cannot_be_read_is_refused(
    client: httpx.AsyncClient, asked: str
) -> None:
    for path in ("Patient/_history", "_history"):
        answer = await client.get(f"/fhir/{path}?{asked}")

        assert answer.status_code == 400
        the_outcome(answer)
    assert (await client.get("/fhir/Patient/nobody/_history")).status_code == 404


async def test_a_type_nobody_has_written_has_an_empty_history(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fhir/Goal/_history")

    assert answer.status_code == 200
    assert "entry" not in answer.json()


# the guard


async def test_an_open_call_is_claimed_by_its_plan_alone(client: httpx.AsyncClient) -> None:
    patient = await created(client, a_person(), X_Partner="clinic")
    bundle = a_referral_of(patient, task={"owner": None})
    referred = await send(client, "POST", "/fhir", bundle, X_Partner="clinic")
    location = referred.json()["entry"][1]["response"]["location"]
    task = (await client.get(f"/fhir/{location}")).json()
    path = f"/fhir/Task/{task['id']}"
    own = task | {"owner": {"reference": "Organization/sunrise"}}
    others = task | {"owner": {"reference": "Organization/bridges"}}

    provider = await send(client, "PUT", path, others, X_Partner="bridges")
    for_another = await send(client, "PUT", path, others, X_Partner="sunrise")
    claimed = await send(client, "PUT", path, own, X_Partner="sunrise")
    given_on = await send(
        client,
        "PUT",
        path,
        claimed.json() | {"owner": {"reference": "Organization/bridges"}},
        X_Partner="sunrise",
    )

    assert (provider.status_code, the_rule(provider)) == (422, "wrong-party")
    assert (for_another.status_code, the_rule(for_another)) == (422, "owner-no-plan")
    assert claimed.status_code == 200
    assert claimed.json()["owner"] == own["owner"]
    assert (given_on.status_code, the_rule(given_on)) == (422, "fixed-element")


async def test_an_owner_makes_a_task_tracked_that_was_not(client: httpx.AsyncClient) -> None:
    patient = await created(client, a_person(), X_Partner="clinic")
    stranger = {"display": "Somebody"}
    bundle = a_referral_of(patient, task={"requester": stranger, "owner": stranger})
    del bundle["entry"][1]["resource"]["owner"]
    bundle["entry"][1]["resource"]["code"] = {"text": "call back"}
    referred = await send(client, "POST", "/fhir", bundle, X_Partner="clinic")
    location = referred.json()["entry"][1]["response"]["location"]
    task = (await client.get(f"/fhir/{location}")).json()
    owned = task | {
        "code": a_referral_of(patient)["entry"][1]["resource"]["code"],
        "owner": {"reference": "Organization/sunrise"},
    }

    answer = await send(client, "PUT", f"/fhir/Task/{task['id']}", owned, X_Partner="clinic")
    deletion = await send(client, "DELETE", f"/fhir/Task/{task['id']}", X_Partner="clinic")

    assert answer.status_code == 200
    assert the_rule(deletion) == "part-of-referral"


# refusals


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "Patient", b"{", 400),
        ("PUT", "Patient", a_person(), 400),
        ("GET", "Medication", None, 404),
        ("GET", "Patient/nobody", None, 404),
        ("GET", "Patient/nobody/_history/1", None, 404),
        ("POST", "Patient/1", a_person(), 405),
        ("DELETE", "AuditEvent/1", None, 405),
        ("PATCH", "Patient", b"[]", 405),
        ("POST", "Patient", a_person(birthDate="never"), 422),
    ],
)
async def test_every_refusal_says_why_as_an_outcome(
    client: httpx.AsyncClient, method: str, path: str, body: Any, status: int
) -> None:
    answer = await send(client, method, f"/fhir/{path}", body)

    assert answer.status_code == status
    issue = the_outcome(answer)
    assert issue["severity"] == "error"
    assert issue["details"]["text"]
    assert ("allow" in answer.headers) == (status == 405)
    if status == 422:
        assert issue["expression"] == ["Patient.birthDate"]


async def test_a_stale_version_is_a_conflict_even_for_a_body_that_was_right_before(
    client: httpx.AsyncClient,
) -> None:
    known = await created(client, a_person("1"))
    path, id_ = f"/fhir/{known}", known.removeprefix("Patient/")
    one = {**a_person("1", active=True), "id": id_}
    two = {**a_person("1", active=False), "id": id_}

    first = await send(client, "PUT", path, one, If_Match='W/"1"')
    again = await send(client, "PUT", path, one, If_Match='W/"1"')
    second = await send(client, "PUT", path, two, If_Match='W/"2"')
    stale = await send(client, "PUT", path, one, If_Match='W/"1"')

    assert [answer.status_code for answer in (first, again, second, stale)] == [200, 200, 200, 412]


async def test_relative_references_mean_the_server_of_their_entry(
    client: httpx.AsyncClient,
) -> None:
    there = "http://ehr.example/fhir"
    observation = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "made up"},
        "subject": {"reference": "Patient/77"},
    }
    bundle = a_bundle(
        "transaction",
        {
            "fullUrl": f"{there}/Patient/77",
            "resource": a_person("1"),
            "request": {"method": "POST", "url": "Patient"},
        },
        {
            "fullUrl": f"{there}/Observation/1",
            "resource": observation,
            "request": {"method": "POST", "url": "Observation"},
        },
    )

    answer = await send(client, "POST", "/fhir", bundle)

    places = [entry["response"]["location"] for entry in answer.json()["entry"]]
    stored = (await client.get(f"/fhir/{places[1]}")).json()
    assert stored["subject"]["reference"] == places[0].partition("/_history")[0]
