"""Clients that nobody here wrote, over real HTTP: fhirpy, fhirclient, fhir-kit where Node is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fhirclient import client as smart
from fhirclient.models.bundle import Bundle
from fhirclient.models.patient import Patient
from fhirclient.models.servicerequest import ServiceRequest
from fhirclient.models.task import Task
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome, ResourceNotFound
from tests.running import Serving, registered, serving

from fhir_hub_bridge.sandbox.synthetic import cast, referral_bundle

CAST = cast(today=date(2026, 11, 20))
NODE_CLIENT = Path(__file__).parent / "clients" / "fhir_kit.mjs"
NUMBERS = "https://clinic.example/referral"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("real-clients")
    env = registered(folder, "http://127.0.0.1:1/fhir")
    with serving(folder, "--no-workers", env=env) as running:
        yield running


def fhirpy_client(server: Serving, partner: str = "river-clinic") -> SyncFHIRClient:
    return SyncFHIRClient(server.fhir, extra_headers={"X-Partner": partner})


def a_patient(number: str) -> dict[str, Any]:
    return {
        "identifier": [{"system": "https://clinic.example/mrn", "value": number}],
        "name": [{"family": "Alfa", "given": ["Test"]}],
        "birthDate": "1980-02-29",
    }


# fhirpy


def test_fhirpy_stores_reads_and_finds(server: Serving) -> None:
    client = fhirpy_client(server)
    patient = client.resource("Patient", **a_patient("py-1"))

    patient.save()
    again = client.resources("Patient").search(identifier="https://clinic.example/mrn|py-1").get()

    assert again.id == patient.id
    assert again.serialize()["birthDate"] == "1980-02-29"
    assert again.to_reference().reference == f"Patient/{patient.id}"


def test_fhirpy_saves_a_change_and_refreshes(server: Serving) -> None:
    client = fhirpy_client(server)
    patient = client.resource("Patient", **a_patient("py-2"))
    patient.save()

    patient["birthDate"] = "1980-03-01"
    patient.save()
    patient.refresh()

    assert patient["meta"]["versionId"] == "2"
    assert patient["birthDate"] == "1980-03-01"


def test_fhirpy_updates_under_a_condition(server: Serving) -> None:
    client = fhirpy_client(server)
    wanted = client.resources("Patient").search(identifier="https://clinic.example/mrn|py-3")
    patient = a_patient("py-3")

    first, made = wanted.update(client.resource("Patient", **patient))
    second, made_again = wanted.update(client.resource("Patient", **patient, active=True))

    assert (made, made_again) == (True, False)
    assert first.id == second.id
    assert second["active"]


def test_fhirpy_refers_and_follows_the_task(server: Serving) -> None:
    client = fhirpy_client(server)
    answer = client.execute("", data=referral_bundle(CAST[0]))
    kinds = [entry["response"]["location"].split("/")[0] for entry in answer["entry"]]
    task_id = answer["entry"][kinds.index("Task")]["response"]["location"].split("/")[1]

    found = client.resources("Task").search(_id=task_id).include("Task", "focus").fetch_raw()
    by_focus = (
        client.resources("ServiceRequest")
        .search(_id=found.entry[0].resource.focus.reference.split("/")[1])
        .revinclude("Task", "focus")
        .fetch_raw()
    )

    assert [e.resource.resource_type for e in found.entry] == ["Task", "ServiceRequest"]
    assert [e.search.mode for e in found.entry] == ["match", "include"]
    assert [e.resource.resource_type for e in by_focus.entry] == ["ServiceRequest", "Task"]


def test_fhirpy_pages_to_the_end(server: Serving) -> None:
    client = fhirpy_client(server)
    for number in range(5):
        patient = a_patient(f"page-{number}") | {"name": [{"family": "Pagina", "given": ["Test"]}]}
        client.resource("Patient", **patient).save()

    wanted = client.resources("Patient").search(family="pagina").sort("-_lastUpdated")
    every = wanted.limit(2).fetch_all()

    assert len({patient.id for patient in every}) == 5
    assert wanted.count() == 5


def test_fhirpy_reads_our_refusals_as_outcomes(server: Serving) -> None:
    client = fhirpy_client(server)

    with pytest.raises(OperationOutcome) as refused:
        client.resource("Task", status="requested", intent="nonsense").save()
    with pytest.raises(ResourceNotFound):
        client.reference("Patient", "nobody").to_resource()

    assert "Task.intent" in str(refused.value)


def test_fhirpy_asks_whether_a_resource_is_valid(server: Serving) -> None:
    client = fhirpy_client(server)

    right = client.resource("Patient", **a_patient("py-4"))
    wrong = client.resource("Patient", **{**a_patient("py-5"), "gender": "unheard-of"})

    assert right.is_valid()
    assert not wrong.is_valid()


# fhirclient


def smart_client(server: Serving) -> smart.FHIRClient:
    return smart.FHIRClient(settings={"app_id": "test", "api_base": server.fhir})


def test_fhirclient_understands_the_capability_statement(server: Serving) -> None:
    client = smart_client(server)

    statement = client.server.capabilityStatement

    assert statement.fhirVersion == "4.0.1"
    assert {"Task", "ServiceRequest"} <= {r.type for r in statement.rest[0].resource}


def test_fhirclient_creates_reads_and_updates(server: Serving) -> None:
    client = smart_client(server)
    patient = Patient(a_patient("smart-1"))

    made = patient.create(client.server)
    read = Patient.read(made["id"], client.server)
    read.gender = "unknown"
    read.update(client.server)

    assert Patient.read(made["id"], client.server).gender == "unknown"


def test_fhirclient_sends_a_referral_and_finds_it(server: Serving) -> None:
    client = smart_client(server)
    bundle = Bundle(referral_bundle(CAST[1]))

    client.server.post_json("", bundle.as_json())
    [number] = [
        entry.resource.identifier[0]
        for entry in bundle.entry
        if entry.resource.resource_type == "ServiceRequest"
    ]
    wanted = {"identifier": f"{number.system}|{number.value}"}
    requests = list(ServiceRequest.where(struct=wanted).perform_resources_iter(client.server))
    focus = f"ServiceRequest/{requests[0].id}"
    tasks = list(Task.where(struct={"focus": focus}).perform_resources_iter(client.server))

    assert [request.identifier[0].value for request in requests] == [number.value]
    assert [task.focus.reference for task in tasks] == [focus]


# fhir-kit-client, on Node


@pytest.fixture(scope="module")
def fhir_kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the npm package, installed for this run."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no Node on this machine")
    folder = tmp_path_factory.mktemp("fhir-kit")
    (folder / "package.json").write_text(json.dumps({"private": True, "type": "module"}))
    installed = subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "fhir-kit-client@2.0.3"],
        cwd=folder,
        capture_output=True,
        timeout=180,
        check=False,
    )
    if installed.returncode:
        pytest.skip("npm could not fetch fhir-kit-client")
    shutil.copy(NODE_CLIENT, folder)
    return folder


def test_fhir_kit_walks_a_referral(server: Serving, fhir_kit: Path) -> None:
    done = subprocess.run(
        ["node", NODE_CLIENT.name, server.fhir],
        cwd=fhir_kit,
        input=json.dumps(referral_bundle(CAST[2])),
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "fhirVersion": "4.0.1",
        "found": ["Task", "ServiceRequest"],
        "versions": 1,
        "patched": "1981-01-01",
        "refused": 422,
        "pages": [2, 1],
    }
