from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from pytest_httpx import HTTPXMock

from fhir_hub_bridge.sandbox.faults import Faults
from fhir_hub_bridge.sandbox.journal import Journal, read_journal
from fhir_hub_bridge.sandbox.referring_entity import app

NOTICE_SYSTEM = "https://bridge.example/notice"


def notice(
    id_: str = "N-1", text: str = "Referral R-0001: Accepted on 2026-11-20."
) -> dict[str, Any]:
    return {
        "resourceType": "Communication",
        "identifier": [{"system": NOTICE_SYSTEM, "value": id_}],
        "status": "in-progress",
        "category": [{"coding": [{"system": "urn:types", "code": "status-changed"}]}],
        "about": [
            {
                "reference": "https://bridge.example/fhir/Task/t1/_history/4",
                "identifier": {"system": "https://ehr.example/referrals", "value": "R-0001"},
            }
        ],
        "payload": [{"contentString": text}],
    }


def conditional(resource: dict[str, Any]) -> str:
    return f"Communication?identifier={NOTICE_SYSTEM}|{resource['identifier'][0]['value']}"


def bundle(*notices: dict[str, Any]) -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "resource": n,
                "request": {
                    "method": "PUT",
                    "url": conditional(n),
                },
            }
            for n in notices
        ],
    }


class Ehr:
    """A pretend EHR in this process, and its journal."""

    def __init__(self, folder: Path, *faults: str) -> None:
        self.journal = Journal(folder / "journal.jsonl")
        made = app(journal=self.journal, faults=Faults(faults))
        transport = httpx.ASGITransport(app=made)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://ehr")

    async def post(self, document: Any) -> httpx.Response:
        return await self.http.post("/fhir", content=json.dumps(document).encode())

    def lines(self) -> list[dict[str, Any]]:
        return read_journal(self.journal.path)

    def kinds(self) -> list[str]:
        return [line["kind"] for line in self.lines()]


@pytest.fixture
def ehr(tmp_path: Path) -> Ehr:
    return Ehr(tmp_path)


async def test_a_transaction_is_stored_and_answered_entry_by_entry(ehr: Ehr) -> None:
    answer = await ehr.post(bundle(notice("N-1"), notice("N-2")))
    found = await ehr.http.get("/fhir/Communication", params={"identifier": f"{NOTICE_SYSTEM}|N-2"})

    entry = answer.json()["entry"][0]["response"]
    read = await ehr.http.get(f"/fhir/{entry['location'].split('/_history')[0]}")

    assert answer.status_code == 200
    assert answer.json()["type"] == "transaction-response"
    assert entry["status"] == "201 Created"
    assert entry["etag"] == 'W/"1"'
    assert found.json()["total"] == 1
    assert read.json()["identifier"][0]["value"] == "N-1"
    assert read.headers["etag"] == 'W/"1"'


async def test_a_notice_is_journalled_with_what_it_says_and_the_digest_of_its_bytes(
    ehr: Ehr,
) -> None:
    body = json.dumps(bundle(notice()), indent=3).encode()

    await ehr.http.post("/fhir", content=body)

    [line] = ehr.lines()
    assert line["kind"] == "received"
    assert (line["method"], line["path"]) == ("POST", "/fhir")
    assert line["sha256"] == hashlib.sha256(body).hexdigest()
    assert (line["notice"], line["notice_ids"]) == ("N-1", ["N-1"])
    assert line["type"] == "status-changed"
    assert line["about"] == "https://bridge.example/fhir/Task/t1/_history/4"
    assert line["referral"] == "R-0001"
    assert line["status_words"] == ["Accepted"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Referral R-1: outreach initiated on 2026-11-20.", ["Outreach Initiated"]),
        ("referral loop closed on 2026-11-20: Services Received", ["Referral Loop Closed"]),
        ("status loop-closed", ["Referral Loop Closed"]),
        ("authorization approved as modified", ["approved-modified"]),
        ("authorization denied; loop closed", ["denied", "Referral Loop Closed"]),
        ("unaccepted words", []),
    ],
)
async def test_status_words_are_found_in_the_payload(ehr: Ehr, text: str, words: list[str]) -> None:
    await ehr.post(bundle(notice(text=text)))

    assert ehr.lines()[0]["status_words"] == words


async def test_a_second_copy_is_a_duplicate_and_changes_nothing(ehr: Ehr) -> None:
    first = await ehr.post(bundle(notice()))
    second = await ehr.post(bundle(notice()))

    assert ehr.kinds() == ["received", "duplicate"]
    assert ehr.lines()[1]["same_bytes"] is True
    assert second.json()["entry"][0]["response"]["status"] == "200 OK"
    assert (
        second.json()["entry"][0]["response"]["location"]
        == first.json()["entry"][0]["response"]["location"]
    )


async def test_a_second_copy_with_other_bytes_is_told_apart(ehr: Ehr) -> None:
    await ehr.post(bundle(notice()))
    await ehr.post(bundle(notice(text="Referral R-0001: Declined")))

    assert ehr.lines()[1]["same_bytes"] is False


async def test_a_duplicate_is_known_again_after_a_restart(tmp_path: Path, ehr: Ehr) -> None:
    await ehr.post(bundle(notice()))

    await Ehr(tmp_path).post(bundle(notice()))

    assert ehr.kinds() == ["received", "duplicate"]


async def test_a_put_by_id_and_a_conditional_create_are_taken(ehr: Ehr) -> None:
    by_id = {**notice("N-1"), "id": "n1"}
    condition = {"If-None-Exist": f"identifier={NOTICE_SYSTEM}|N-2"}

    put = await ehr.http.put("/fhir/Communication/n1", json=by_id)
    created = await ehr.http.post("/fhir/Communication", json=notice("N-2"), headers=condition)
    again = await ehr.http.post("/fhir/Communication", json=notice("N-2"), headers=condition)

    assert (put.status_code, created.status_code, again.status_code) == (201, 201, 200)
    assert put.headers["location"] == "Communication/n1/_history/1"
    assert again.json()["id"] == created.json()["id"]
    assert ehr.kinds() == ["received", "received", "duplicate"]


async def test_references_between_entries_are_resolved(ehr: Ehr) -> None:
    document = bundle(notice())
    task = {"resourceType": "Task", "status": "in-progress", "identifier": [{"value": "R-0001"}]}
    document["entry"][0]["resource"]["about"] = [{"reference": "urn:uuid:1"}]
    document["entry"].append(
        {
            "fullUrl": "urn:uuid:1",
            "resource": task,
            "request": {"method": "PUT", "url": "Task?identifier=R-0001"},
        }
    )

    await ehr.post(document)

    held = (await ehr.http.get("/fhir/Communication")).json()["entry"][0]["resource"]
    task_id = (await ehr.http.get("/fhir/Task")).json()["entry"][0]["resource"]["id"]
    assert held["about"][0]["reference"] == f"Task/{task_id}"


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ([], 400),
        ({"resourceType": "Bundle", "type": "collection"}, 400),
        ({"resourceType": "Bundle", "type": "transaction", "entry": [{}]}, 400),
        (bundle({**notice(), "status": None}), 422),
    ],
)
async def test_a_body_that_is_no_transaction_is_refused_and_nothing_is_kept(
    ehr: Ehr, document: Any, status: int
) -> None:
    answer = await ehr.post(document)

    held = await ehr.http.get("/fhir/Communication")
    assert answer.status_code == status
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert ehr.kinds()[0] == "rejected"
    assert held.json()["total"] == 0


async def test_a_transaction_with_one_bad_entry_stores_none(ehr: Ehr) -> None:
    document = bundle(notice("N-1"), notice("N-2"))
    document["entry"][1]["request"] = {**document["entry"][1]["request"], "ifMatch": 'W/"9"'}

    answer = await ehr.post(document)

    held = await ehr.http.get("/fhir/Communication")
    assert answer.status_code == 412
    assert held.json()["total"] == 0


async def test_a_503_is_answered_and_journalled_as_refused(tmp_path: Path) -> None:
    ehr = Ehr(tmp_path, "answer=503 retry-after=2 times=1 on=Communication")

    refused = await ehr.post(bundle(notice()))
    taken = await ehr.post(bundle(notice()))

    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "2"
    assert taken.status_code == 200
    assert ehr.kinds() == ["refused", "received"]
    assert ehr.lines()[0]["notice"] == "N-1"
    assert ehr.lines()[0]["sha256"] == ehr.lines()[1]["sha256"]


async def test_a_fault_on_tasks_leaves_a_bundle_without_one_alone(tmp_path: Path) -> None:
    ehr = Ehr(tmp_path, "answer=503 on=Task")

    answer = await ehr.post(bundle(notice()))

    assert answer.status_code == 200


async def test_the_other_faults_answer_as_they_say(tmp_path: Path) -> None:
    ehr = Ehr(tmp_path, "answer=garbage times=1", "answer=refused times=1", "answer=twice times=1")

    garbage, refused, twice = [await ehr.post(bundle(notice())) for _ in range(3)]

    assert garbage.status_code == 200
    with pytest.raises(ValueError, match="Expecting value"):
        garbage.json()
    assert refused.status_code == 400
    assert refused.json()["resourceType"] == "OperationOutcome"
    assert twice.status_code == 200
    assert ehr.kinds() == ["refused", "refused", "received", "duplicate"]


async def test_faults_are_set_listed_and_taken_away_over_http(ehr: Ehr) -> None:
    started = await ehr.http.post("/_faults", json={"fault": "answer=503 id=N-1"})
    hit = await ehr.post(bundle(notice("N-1")))
    missed = await ehr.post(bundle(notice("N-2")))
    stopped = await ehr.http.delete("/_faults")
    wrong = await ehr.http.post("/_faults", json={"fault": "answer=perhaps"})
    empty = await ehr.http.post("/_faults", content=b"")

    assert (started.status_code, hit.status_code, missed.status_code) == (201, 503, 200)
    assert started.json()["faults"] == ["answer=503 id=N-1"]
    assert stopped.json()["faults"] == []
    assert (wrong.status_code, empty.status_code) == (400, 400)
    assert "answer=perhaps" in wrong.json()["error"]


async def test_requests_are_shown_until_a_reset(ehr: Ehr) -> None:
    await ehr.post(bundle(notice()))

    shown = await ehr.http.get("/_requests", params={"kind": "received"})
    await ehr.http.post("/_reset")
    after = await ehr.http.get("/_requests")
    again = await ehr.post(bundle(notice()))

    assert shown.json()["total"] == 1
    assert after.json()["total"] == 0
    assert again.json()["entry"][0]["response"]["status"] == "201 Created"
    assert ehr.kinds() == ["received", "reset", "received"]


async def test_metadata_says_what_the_server_takes(ehr: Ehr) -> None:
    answer = await ehr.http.get("/fhir/metadata")

    rest = answer.json()["rest"][0]
    assert answer.json()["fhirVersion"] == "4.0.1"
    assert rest["interaction"] == [{"code": "transaction"}]
    assert {r["type"] for r in rest["resource"]} == {"Communication", "Task"}


@pytest.mark.httpx_mock(should_mock=lambda request: request.url.host == "bridge")
async def test_a_referral_is_sent_and_its_notices_are_recognised(
    ehr: Ehr, httpx_mock: HTTPXMock
) -> None:
    httpx_mock.add_response(url="http://bridge/fhir", json={"resourceType": "Bundle"})
    request = {"resourceType": "ServiceRequest", "identifier": [{"value": "MY-77"}]}
    referral = {"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": request}]}
    order = {"bridge": "http://bridge/fhir", "bundle": referral, "headers": {"X-Partner": "me"}}

    sent = await ehr.http.post("/send", json=order)
    told = {**notice(text="Referral MY-77: Accepted"), "about": []}
    await ehr.post(bundle(told))

    assert sent.json()["status"] == 200
    assert httpx_mock.get_requests()[0].headers["x-partner"] == "me"
    assert ehr.lines()[0]["kind"] == "sent"
    assert ehr.lines()[0]["referrals"] == ["MY-77"]
    assert ehr.lines()[1]["referral"] == "MY-77"


@pytest.mark.httpx_mock(should_mock=lambda request: request.url.host == "bridge")
async def test_a_bridge_that_cannot_be_reached_is_said_so(ehr: Ehr, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_exception(httpx.ConnectError("no"))

    sent = await ehr.http.post("/send", json={"bridge": "http://bridge/fhir", "bundle": {}})
    wrong = await ehr.http.post("/send", json={"bundle": {}})

    assert sent.status_code == 502
    assert sent.json()["error"] == "ConnectError"
    assert ehr.lines()[0]["status"] is None
    assert wrong.status_code == 400
