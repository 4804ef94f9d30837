from __future__ import annotations

import copy
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.claimresponse import ClaimResponse
from pytest_httpx import HTTPXMock

from fhir_hub_bridge.sandbox.faults import Faults
from fhir_hub_bridge.sandbox.journal import Journal, read_journal
from fhir_hub_bridge.sandbox.plan import Plan, PlanSettings, app
from fhir_hub_bridge.sandbox.plan_acts import (
    CANONICAL,
    StepError,
    act_bundle,
    business_status,
)

BASE = "http://bridge/fhir"
TASK = {
    "resourceType": "Task",
    "id": "t1",
    "meta": {"versionId": "3", "lastUpdated": "2026-11-20T18:00:00.000Z"},
    "identifier": [{"system": "https://ehr.example/referrals", "value": "R-0001"}],
    "status": "requested",
    "intent": "order",
    "for": {"reference": "Patient/p1"},
    "executionPeriod": {"start": "2026-11-01"},
    "output": [{"type": {"coding": [{"system": "urn:x", "code": "kept"}]}, "valueString": "x"}],
    "note": [{"text": "stays"}],
}
APPROVE = {"act": "decide", "status": "approved", "number": "A-1", "basis": "prior"}


def made(step: dict[str, Any], task: dict[str, Any] = TASK) -> list[dict[str, Any]]:
    bundle = act_bundle(
        task,
        step,
        plan="golden-plan",
        today=date(2026, 11, 21),
        uuid="0a0a0a0a-0000-4000-8000-000000000001",
        if_match='W/"3"',
    )
    Bundle.model_validate(copy.deepcopy(bundle))
    entries: list[dict[str, Any]] = bundle["entry"]
    return entries


def outputs(task: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [o for o in task["output"] if o["type"]["coding"][0]["code"] == kind]


def test_an_approval_is_a_claim_response_and_two_outputs_of_the_task() -> None:
    response, put = made(APPROVE)

    claim, task = response["resource"], put["resource"]
    status, reference = outputs(task, "authorization-decision")
    ClaimResponse.model_validate(copy.deepcopy(claim))
    assert response["request"] == {"method": "POST", "url": "ClaimResponse"}
    assert (claim["use"], claim["outcome"], claim["preAuthRef"]) == (
        "preauthorization",
        "complete",
        "A-1",
    )
    assert claim["patient"] == {"reference": "Patient/p1"}
    assert claim["insurer"] == {"reference": "Organization/golden-plan"}
    assert claim["preAuthPeriod"]["start"] == "2026-11-21"
    assert claim["extension"] == [
        {"url": f"{CANONICAL}/StructureDefinition/authorization-basis", "valueCode": "prior"}
    ]
    assert status["valueCodeableConcept"]["coding"][0]["code"] == "approved"
    assert reference["valueReference"]["reference"] == response["fullUrl"]
    assert put["request"] == {"method": "PUT", "url": "Task/t1", "ifMatch": 'W/"3"'}


def test_what_the_plan_does_not_change_stays_in_the_task() -> None:
    _, put = made(APPROVE)

    assert outputs(put["resource"], "kept") == TASK["output"]
    assert put["resource"]["note"] == TASK["note"]
    assert put["resource"]["status"] == "requested"


def test_a_later_decision_replaces_the_earlier_outputs() -> None:
    _, first = made(APPROVE)
    denied = {"act": "decide", "status": "denied", "reason_text": "Not covered", "reason_code": "x"}

    response, second = made(denied, first["resource"])

    [status, _] = outputs(second["resource"], "authorization-decision")
    reason = response["resource"]["extension"][1]["valueCodeableConcept"]
    assert status["valueCodeableConcept"]["coding"][0]["code"] == "denied"
    assert response["resource"]["disposition"] == "Not covered"
    assert (reason["text"], reason["coding"][0]["code"]) == ("Not covered", "x")
    assert "preAuthPeriod" not in response["resource"]


def test_a_presumptive_start_is_queued_with_a_period_of_thirty_days() -> None:
    step = {"act": "decide", "status": "pending", "basis": "presumptive", "on": "2026-11-02"}

    response, _ = made(step)

    claim = response["resource"]
    assert (claim["outcome"], claim["created"]) == ("queued", "2026-11-02")
    assert claim["preAuthPeriod"] == {"start": "2026-11-02", "end": "2026-12-02"}


def test_an_assignment_replaces_the_assigned_provider() -> None:
    [first] = made({"act": "assign", "provider": "harbor-ecm"})

    [second] = made({"act": "assign", "provider": "hearth-homes"}, first["resource"])

    [output] = outputs(second["resource"], "assigned-provider")
    assert output["valueReference"] == {"reference": "Organization/hearth-homes"}


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("services-received", "completed"),
        ("provider-declined", "failed"),
        ("unable-to-reach", "failed"),
        ("member-declined", "cancelled"),
    ],
)
def test_a_closure_has_status_reason_and_date(reason: str, status: str) -> None:
    [put] = made({"act": "close", "reason": reason, "text": "Said so", "on": "2026-11-20"})

    task = put["resource"]
    assert task["status"] == status
    assert business_status(task) == "loop-closed"
    assert task["statusReason"]["coding"][0]["code"] == reason
    assert task["statusReason"]["text"] == "Said so"
    assert task["executionPeriod"] == {"start": "2026-11-01", "end": "2026-11-20"}


@pytest.mark.parametrize("step", [{}, {"act": "pay"}, {"act": "assign"}, {"act": "decide"}])
def test_a_step_that_is_no_act_of_a_plan_is_refused(step: dict[str, Any]) -> None:
    with pytest.raises(StepError):
        made(step)


class FakeBridge:
    """A bridge of one Task that keeps versions, pages its searches and honours If-Match."""

    def __init__(self, mock: HTTPXMock) -> None:
        self.task: dict[str, Any] = {**copy.deepcopy(TASK), "output": []}
        self.changed = datetime(2026, 11, 20, 18, tzinfo=UTC)
        self.asked: list[httpx.Request] = []
        self.posted: list[dict[str, Any]] = []
        self.answers: list[int] = []  # statuses to give instead of doing it
        mock.add_callback(self.answer, url=None, is_reusable=True)

    def moves_on(self, **changes: Any) -> None:
        version = str(int(self.task["meta"]["versionId"]) + 1)
        self.changed += timedelta(minutes=1)
        moment = self.changed.isoformat().replace("+00:00", "Z")
        self.task |= {**changes, "meta": {"versionId": version, "lastUpdated": moment}}

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.method == "POST":
            return self._post(json.loads(request.content))
        if request.url.path == "/fhir/Task/t1":
            etag = f'W/"{self.task["meta"]["versionId"]}"'
            return httpx.Response(200, json=self.task, headers={"ETag": etag})
        wanted = request.url.params.get("identifier", "R-0001")
        hit = [{"resource": {**self.task, "id": "t2", "partOf": []}}, {"resource": self.task}]
        first_page = "page" not in request.url.params
        link = {"relation": "next", "url": "/fhir/Task?page=2"}
        page = {"entry": hit[:1], "link": [link]} if first_page else {"entry": hit[1:]}
        return httpx.Response(200, json=page if wanted == "R-0001" else {})

    def _post(self, bundle: dict[str, Any]) -> httpx.Response:
        self.posted.append(bundle)
        put = bundle["entry"][-1]
        if self.answers:
            return httpx.Response(self.answers.pop(0), json={"resourceType": "OperationOutcome"})
        if put["request"]["ifMatch"] != f'W/"{self.task["meta"]["versionId"]}"':
            return httpx.Response(412, json={"resourceType": "OperationOutcome"})
        self.moves_on(**put["resource"])
        return httpx.Response(200, json={"type": "transaction-response"})


@pytest.fixture
def bridge(httpx_mock: HTTPXMock) -> FakeBridge:
    return FakeBridge(httpx_mock)


def plan(folder: Path, *faults: str, script: dict[str, Any] | None = None) -> Plan:
    return Plan(
        PlanSettings(bridge=BASE),
        journal=Journal(folder / "plan.jsonl"),
        faults=Faults(faults),
        script=script or {},
        seed=1,
    )


async def told(folder: Path, order: dict[str, Any], *faults: str) -> httpx.Response:
    journal = Journal(folder / "plan.jsonl")
    made_app = app(PlanSettings(bridge=BASE), journal=journal, faults=Faults(faults))
    transport = httpx.ASGITransport(app=made_app)
    async with httpx.AsyncClient(transport=transport, base_url="http://plan") as client:
        return await client.post("/act", json=order)


pytestmark = pytest.mark.httpx_mock(
    should_mock=lambda request: request.url.host == "bridge",
    assert_all_responses_were_requested=False,
)


async def test_told_to_act_it_does_all_steps_and_says_what_came_of_them(
    bridge: FakeBridge, tmp_path: Path
) -> None:
    steps = [APPROVE, {"act": "assign", "provider": "harbor-ecm"}]

    answer = await told(tmp_path, {"identifier": "R-0001", "steps": steps})

    assert answer.json()["ok"] is True
    assert answer.json()["task"] == "t1"
    assert [o["status"] for o in answer.json()["outcomes"]] == [200, 200]
    assert [len(b["entry"]) for b in bridge.posted] == [2, 1]
    assert bridge.posted[1]["entry"][0]["request"]["ifMatch"] == 'W/"4"'
    assert {r.headers["x-partner"] for r in bridge.asked} == {"golden-plan"}
    sent = [e for e in read_journal(tmp_path / "plan.jsonl") if e["kind"] == "sent"]
    assert [(e["act"], e["status"]) for e in sent] == [("decide", 200), ("assign", 200)]


async def test_a_moved_on_task_is_read_again(bridge: FakeBridge, tmp_path: Path) -> None:
    answer = await told(tmp_path, {"identifier": "R-0001", "steps": [APPROVE]}, "act=stale times=1")

    assert answer.json()["ok"] is True
    assert [b["entry"][-1]["request"]["ifMatch"] for b in bridge.posted] == ['W/"0"', 'W/"3"']


async def test_a_no_of_the_bridge_ends_the_steps_and_is_handed_back(
    bridge: FakeBridge, tmp_path: Path
) -> None:
    bridge.answers = [422]

    answer = await told(tmp_path, {"identifier": "R-0001", "steps": [APPROVE, APPROVE]})

    assert answer.json()["ok"] is False
    [outcome] = answer.json()["outcomes"]
    assert outcome["status"] == 422
    assert outcome["body"]["resourceType"] == "OperationOutcome"


async def test_an_order_that_makes_no_sense_is_refused(bridge: FakeBridge, tmp_path: Path) -> None:
    wrong = await told(tmp_path, {"steps": []})
    unknown = await told(tmp_path, {"identifier": "R-9999", "steps": [APPROVE]})
    no_act = await told(tmp_path, {"identifier": "R-0001", "steps": [{"act": "pay"}]})

    assert (wrong.status_code, unknown.status_code, no_act.status_code) == (400, 404, 400)


async def test_by_script_it_acts_when_its_task_is_there_and_each_step_once(
    bridge: FakeBridge, tmp_path: Path
) -> None:
    steps = [
        APPROVE,
        {"act": "assign", "provider": "harbor-ecm"},
        {"act": "assign", "provider": "hearth-homes", "when": "declined"},
    ]
    acting = plan(tmp_path, script={"R-0001": steps})

    await acting.poll_once()
    await acting.poll_once()
    before = len(bridge.posted)
    coding = {"system": f"{CANONICAL}/CodeSystem/clr-referral-status", "code": "declined"}
    bridge.moves_on(businessStatus={"coding": [coding]})
    await acting.poll_once()
    restarted = plan(tmp_path, script={"R-0001": steps})
    await restarted.poll_once()

    assert before == 2
    assert len(bridge.posted) == 3
    assert "hearth-homes" in json.dumps(bridge.posted[2])
    searches = [r.url.params for r in bridge.asked if r.url.path == "/fhir/Task"]
    assert all(p["owner"] == "Organization/golden-plan" for p in searches if "page" not in p)
    assert [p.get("_lastUpdated") for p in searches][2] == "gt2026-11-20T17:59:58.000Z"


async def test_by_script_trouble_of_the_bridge_is_tried_again_and_a_no_is_not(
    bridge: FakeBridge, tmp_path: Path
) -> None:
    acting = plan(tmp_path, script={"R-0001": [APPROVE]})
    bridge.answers = [503, 422]

    for _ in range(3):
        await acting.poll_once()

    assert len(bridge.posted) == 2


async def test_sent_twice_the_first_outcome_counts(bridge: FakeBridge, tmp_path: Path) -> None:
    answer = await told(tmp_path, {"identifier": "R-0001", "steps": [APPROVE]}, "act=twice times=1")

    assert answer.json()["ok"] is True
    assert len(bridge.posted) == 2
    assert bridge.posted[0] == bridge.posted[1]
