"""The routes beside FHIR answer as the served OpenAPI says: schemathesis asks a real server."""

from __future__ import annotations

from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, given, settings
from tests.running import environment, serving


def test_every_route_beside_fhir_answers_as_described(tmp_path: Path) -> None:
    asked: set[str] = set()

    with serving(tmp_path, "--no-workers", env=environment(tmp_path)) as server:
        address = server.fhir.removesuffix("/fhir")
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        for found in schema.get_all_operations():
            operation = found.ok()
            asked.add(operation.path)

            @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy())
            def answers_as_described(case: schemathesis.Case) -> None:
                case.call_and_validate()

            answers_as_described()

    assert asked == {"/healthz", "/readyz"}
