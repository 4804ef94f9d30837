"""A referral through the relay over real HTTP: the clinic's EHR, the bridge, the provider's server.

The bridge's own workers look at partners' servers every half hour; here the same look is taken at
once, on the same database.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.journeys.test_pretend_partners_as_processes import Partner
from tests.running import Serving, environment, eventually, run_command, serving

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.intake.relay import Relay, look_once
from fhir_hub_bridge.sandbox.synthetic import cast, referral_bundle
from fhir_hub_bridge.settings import Settings
from fhir_hub_bridge.wiring import open_bridge

CAST = cast(today=date(2026, 11, 20))
PARTNERS = """
[[partner]]
id = "golden-plan"
name = "Golden Test Health Plan"
kind = "managed-care-plan"

[[partner]]
id = "harbor-ecm"
name = "Harbor Test Care Management"
kind = "provider"
npi = "1999000064"

[partner.agreement]
method = "fhir-push"
endpoint = "{provider}/fhir"
proof = "2xx"
notify_from = 2026-01-01

[[partner]]
id = "river-clinic"
name = "River Test Clinic"
kind = "referring-entity"

[partner.agreement]
method = "fhir-push"
endpoint = "{ehr}/fhir"
proof = "2xx"
notify_from = 2026-01-01
"""


class Stage:
    """The bridge and two pretend partners, each a process of its own."""

    def __init__(self, folder: Path, ehr: Partner, provider: Partner) -> None:
        self.ehr, self.provider = ehr, provider
        self.env = environment(folder, retry_seconds="[0.2, 0.5]")
        self.folder = folder
        file = folder / "partners.toml"
        file.write_text(PARTNERS.format(ehr=ehr.base, provider=provider.base))
        added = run_command("partner", "add", str(file), env=self.env)
        assert added.exit_code == 0, added.err

    def plan_assigns(self, task: str) -> None:
        for act in (
            ("decide", task, "--status", "approved"),
            ("assign", task, "--to", "harbor-ecm"),
        ):
            done = run_command("referral", *act, env=self.env)
            assert done.exit_code == 0, done.err

    def show(self, task: str) -> dict[str, Any]:
        return run_command("referral", "show", task, "--json", env=self.env).json

    def look(self, server: Serving) -> int:
        """What a worker does every half hour."""

        async def once() -> int:
            settings = Settings(
                data_folder=self.folder, operator="golden-plan", base_url=server.fhir
            )
            async with open_bridge(settings) as bridge:
                every = timedelta(microseconds=1)
                return await look_once(
                    Relay(bridge.store, bridge.reader(), bridge.recording, every)
                )

        return asyncio.run(once())


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    ehr, provider = Partner(tmp_path, "referring-entity"), Partner(tmp_path, "provider")
    yield Stage(tmp_path, ehr, provider)
    for partner in (ehr, provider):
        partner.stop()


def held(partner: Partner, kind: str) -> list[dict[str, Any]]:
    """What a partner's server holds of this type."""
    with httpx.Client(timeout=10, trust_env=False) as client:
        answer = client.get(f"{partner.base}/fhir/{kind}")
    return [entry["resource"] for entry in answer.json().get("entry", [])]


def keep(partner: Partner, resource: dict[str, Any]) -> None:
    """A partner changes what its own server holds."""
    with httpx.Client(timeout=10, trust_env=False) as client:
        url = f"{partner.base}/fhir/{resource['resourceType']}/{resource['id']}"
        answer = client.put(url, content=json.dumps(resource).encode())
    assert answer.status_code in (200, 201), answer.text


def told(ehr: Partner) -> list[str]:
    """The types of the notices that the EHR was told of, in order."""
    codes = [c["category"][0]["coding"][0] for c in held(ehr, "Communication")]
    return [code["code"] for code in codes if code["system"] == canonical.NOTICE_TYPE]


def arrived(provider: Partner, number: int = 1) -> Callable[[], Any]:
    return lambda: [t for t in [held(provider, "Task")] if len(t) == number]


def referred(server: Serving, number: int) -> str:
    answer = server.post(referral_bundle(CAST[number]), partner="river-clinic")
    assert answer.status_code == 200, answer.text
    locations = [entry["response"]["location"] for entry in answer.json()["entry"]]
    task = next(place for place in locations if place.startswith("Task/"))
    return task.partition("/_history")[0]


def moves(provider: Partner, **changes: Any) -> None:
    (theirs,) = held(provider, "Task")
    keep(provider, {**theirs, **changes})


def closing(code: str) -> dict[str, Any]:
    return {"coding": [{"system": canonical.CLOSURE_REASON, "code": code}], "text": "Made up"}


@pytest.mark.requirement("refer-1")
def test_a_referral_travels_down_and_its_end_travels_up(stage: Stage, tmp_path: Path) -> None:
    with serving(tmp_path, env=stage.env) as server:
        task = referred(server, 0)
        stage.plan_assigns(task)
        eventually(arrived(stage.provider))
        (theirs,) = held(stage.provider, "Task")
        (request,) = held(stage.provider, "ServiceRequest")
        (person,) = held(stage.provider, "Patient")

        moves(stage.provider, status="accepted")
        assert stage.look(server) == 1
        moves(stage.provider, status="completed", statusReason=closing("services-received"))
        assert stage.look(server) == 1

        eventually(lambda: "loop-closed" in told(stage.ehr))
        story = stage.show(task)

    assert theirs["focus"] == {"reference": f"ServiceRequest/{request['id']}"}
    assert request["subject"] == theirs["for"] == {"reference": f"Patient/{person['id']}"}
    assert request["intent"] == "filler-order"
    assert story["closure_reason"] == "services-received"
    assert [copy["state"] for copy in story["copies"]] == ["confirmed"]
    assert told(stage.ehr) == ["authorization-decided", "provider-assigned", "loop-closed"]


@pytest.mark.requirement("refer-1")
def test_a_referral_on_the_clinic_s_own_server_is_fetched_amended_and_taken_back(
    stage: Stage, tmp_path: Path
) -> None:
    base = f"{stage.ehr.base}/fhir"
    resources = [entry["resource"] for entry in referral_bundle(CAST[1])["entry"]]
    parts = {r["resourceType"]: r for r in resources}
    person = {**parts["Patient"], "id": "p1"}
    request = {**parts["ServiceRequest"], "id": "sr1", "subject": {"reference": "Patient/p1"}}
    request.pop("insurance", None)
    for resource in (person, request):
        keep(stage.ehr, resource)
    task = {
        **parts["Task"],
        "focus": {"reference": f"{base}/ServiceRequest/sr1"},
        "for": {"reference": f"{base}/Patient/p1"},
    }
    task.pop("insurance", None)

    with serving(tmp_path, env=stage.env) as server:
        answer = server.post(task, partner="river-clinic", path="/Task")
        assert answer.status_code == 201, answer.text
        ours = f"Task/{answer.json()['id']}"
        copy = server.get(f"/fhir/{answer.json()['focus']['reference']}").json()
        stage.plan_assigns(ours)
        eventually(arrived(stage.provider))

        keep(stage.ehr, {**request, "priority": "urgent"})
        assert stage.look(server) == 1
        eventually(lambda: held(stage.provider, "ServiceRequest")[0].get("priority") == "urgent")
        keep(stage.ehr, {**request, "priority": "urgent", "status": "revoked"})
        assert stage.look(server) == 1
        eventually(lambda: held(stage.provider, "Task")[0]["status"] == "cancelled")
        eventually(lambda: "loop-closed" in told(stage.ehr))
        story = stage.show(ours)

    assert copy["meta"]["source"] == f"{base}/ServiceRequest/sr1"
    assert story["closure_reason"] == "referral-withdrawn"
    assert [copy["state"] for copy in story["copies"]] == ["confirmed"] * 3


def test_an_outage_of_the_provider_s_server_loses_nothing(stage: Stage, tmp_path: Path) -> None:
    stage.provider.fault("answer=503 times=4 on=Task")

    with serving(tmp_path, env=stage.env) as server:
        task = referred(server, 2)
        stage.plan_assigns(task)
        eventually(lambda: "provider-assigned" in told(stage.ehr))  # the clinic does not wait
        assert stage.look(server) == 0  # nobody is at home
        eventually(arrived(stage.provider))
        moves(stage.provider, status="accepted")
        stage.provider.fault("answer=503 times=1 on=Task")
        assert stage.look(server) == 0
        assert stage.look(server) == 1
        moves(stage.provider, status="failed", statusReason=closing("unable-to-reach"))
        assert stage.look(server) == 1
        eventually(lambda: "loop-closed" in told(stage.ehr))
        story = stage.show(task)

    (copy,) = story["copies"]
    tries = [attempt["outcome"] for attempt in copy["attempts"]]
    assert tries[-1] == "accepted"
    assert set(tries[:-1]) == {"unavailable"}
    assert story["closure_reason"] == "unable-to-reach"
