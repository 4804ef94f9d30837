"""Whatever is sent to a real server: an answer that is FHIR, and never a failure of ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fhir_generator import near_resources, resources
from tests.running import environment, registered, run_command, serving

from fhir_hub_bridge.api.registry import CREATE, RESOURCES, UPDATE
from fhir_hub_bridge.fhir.codec import to_bytes
from fhir_hub_bridge.fhir.search import PARAMETERS
from fhir_hub_bridge.fhir.validation import issues_of

CREATED = sorted(served.type for served in RESOURCES if CREATE in served.interactions)
UPDATED = sorted(served.type for served in RESOURCES if UPDATE in served.interactions)
SEARCHED = sorted(served.type for served in RESOURCES if served.search_parameters)
FHIR_JSON = {"Content-Type": "application/fhir+json"}


@dataclass(frozen=True, slots=True)
class Door:
    """A client of a running server."""

    client: httpx.Client

    def ask(self, method: str, path: str, **sent: Any) -> httpx.Response:
        """Ask; the answer is never a failure of the server's, and a refusal is an outcome."""
        answer = self.client.request(method, path, **sent)
        assert answer.status_code < 500, (method, path, answer.text)
        if answer.status_code >= 400:
            assert answer.json()["resourceType"] == "OperationOutcome"
        return answer


@pytest.fixture
def door(database_url: str, tmp_path: Path) -> Iterator[Door]:
    env = environment(tmp_path, database=database_url)
    assert run_command("db", "upgrade", env=env).exit_code == 0
    registered(tmp_path, "http://127.0.0.1:1/fhir", database=database_url)
    with (
        serving(tmp_path, "--no-workers", env=env) as running,
        httpx.Client(base_url=running.fhir, timeout=30, trust_env=False) as client,
    ):
        yield Door(client)


OFTEN = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
    ],
)


def test_what_is_valid_is_stored_and_what_is_not_is_refused(door: Door) -> None:
    @OFTEN
    @given(st.sampled_from(CREATED).flatmap(lambda kind: resources(kind) | near_resources(kind)))
    def law(resource: dict[str, Any]) -> None:
        kind = resource.get("resourceType", "Patient")
        if kind not in CREATED:
            return
        answer = door.ask("POST", f"/{kind}", content=to_bytes(resource), headers=FHIR_JSON)

        if issues_of(resource):
            assert answer.status_code in (400, 422)
        else:
            assert answer.status_code in (200, 201, 409, 422)
            if answer.status_code == 201:
                door.ask("GET", answer.headers["location"])

    law()


def test_updates_of_what_is_there_and_what_is_not_are_answered(door: Door) -> None:
    patient = {"resourceType": "Patient", "name": [{"family": "Alfa"}]}
    made = door.ask("POST", "/Patient", content=to_bytes(patient), headers=FHIR_JSON).json()["id"]

    @OFTEN
    @given(
        st.sampled_from(UPDATED).flatmap(lambda kind: resources(kind) | near_resources(kind)),
        st.sampled_from([made, "nobody", "x" * 65]),
        st.sampled_from([{}, {"If-Match": 'W/"1"'}, {"If-Match": "*"}, {"If-Match": "x"}]),
    )
    def law(resource: dict[str, Any], id_: str, condition: dict[str, str]) -> None:
        kind = resource.get("resourceType", "Patient")
        if kind not in UPDATED:
            return
        body = to_bytes({**resource, "id": id_})
        door.ask("PUT", f"/{kind}/{id_}", content=body, headers=FHIR_JSON | condition)

    law()


VALUES = st.sampled_from(
    [
        "a",
        "a|b",
        "|",
        "|b",
        "a|",
        "2026",
        "ge2026-02",
        "2026-02-30",
        "apx",
        "Patient/1",
        "https://ehr.example/fhir/Patient/1",
        "true",
        "a,b",
        "a\\,b",
        "$",
        "a|b$c|d",
        "%00",
        "\x00",
        "*",
        "-_lastUpdated",
    ]
) | st.text(max_size=6)
OTHERS = [
    "_count",
    "_sort",
    "_include",
    "_revinclude",
    "_elements",
    "_summary",
    "_total",
    "_has:Task:patient:status",
    "patient.identifier",
    "_page",
    "_unheard-of",
]


def test_searches_of_any_kind_are_answered(door: Door) -> None:
    @OFTEN
    @given(st.data())
    def law(data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from(SEARCHED))
        names = st.sampled_from([*PARAMETERS[kind], *OTHERS])
        modifiers = st.sampled_from(["", "", ":missing", ":not", ":exact", ":Patient", ":x"])
        pairs = data.draw(st.lists(st.tuples(names, modifiers, VALUES), max_size=4))
        query = [(name + modifier, value) for name, modifier, value in pairs]
        answer = door.ask("GET", f"/{kind}", params=query)

        if answer.status_code == 200:
            assert answer.json()["type"] == "searchset"

    law()
