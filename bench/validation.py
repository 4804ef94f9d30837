"""How fast bodies are judged, what a type costs to compile, and how much memory that takes.

python -m bench.validation
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from bench.figures import Figure
from bench.sizes import Sizes
from fhir_hub_bridge.fhir import definitions, inspection_plans, schema_compiler
from fhir_hub_bridge.fhir.codec import parse_json
from fhir_hub_bridge.fhir.packages import Library, package_of
from fhir_hub_bridge.fhir.profiles import declared, profile_issues
from fhir_hub_bridge.fhir.validation import SUPPORTED_TYPES, issues_of
from fhir_hub_bridge.wiring import own_guide

HUB = "https://hub.example"
SDOHCC = "http://hl7.org/fhir/us/sdoh-clinicalcare"
EXAMPLES = Path(__file__).resolve().parents[2] / "shared" / "fhir"


def memory() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def per_second(
    ask: Callable[[], Any], *, calls: int = 300, rounds: int = 21
) -> tuple[float, float]:
    """Calls per second: the best round and the median one."""
    ask()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            ask()
        seconds.append((time.perf_counter() - start) / calls)
    return 1 / min(seconds), 1 / statistics.median(seconds)


def concept(system: str, code: str, text: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": text}], "text": text}


def a_task() -> dict[str, Any]:
    codes = f"{SDOHCC}/CodeSystem/SDOHCC-CodeSystemTemporaryCodes"
    return {
        "resourceType": "Task",
        "id": "referral-task-0001",
        "meta": {
            "versionId": "3",
            "lastUpdated": "2026-05-04T11:00:00.123Z",
            "profile": [f"{SDOHCC}/StructureDefinition/SDOHCC-TaskForReferralManagement"],
        },
        "extension": [{"url": f"{HUB}/fhir/reason", "valueString": "No safe place to sleep"}],
        "identifier": [
            {
                "system": "https://plan.example/referrals",
                "value": "R-2026-000123",
                "assigner": {"reference": "Organization/plan-1", "display": "Example Plan"},
            },
            {"system": f"{HUB}/ids", "value": "H-88123"},
        ],
        "basedOn": [{"reference": "ServiceRequest/sr-1"}],
        "partOf": [{"reference": "Task/parent-1"}],
        "status": "in-progress",
        "statusReason": concept(f"{HUB}/reasons", "called", "Member was called"),
        "businessStatus": concept(codes, "outreach", "Outreach under way"),
        "intent": "order",
        "priority": "routine",
        "code": concept("http://hl7.org/fhir/CodeSystem/task-code", "fulfill", "Fulfill"),
        "description": "Housing navigation for a made-up member",
        "focus": {"reference": "ServiceRequest/sr-1", "type": "ServiceRequest"},
        "for": {"reference": "Patient/p-1", "display": "Testperson, Ada"},
        "encounter": {"reference": "Encounter/e-1"},
        "executionPeriod": {"start": "2026-05-04T10:15:00Z", "end": "2026-06-04T10:15:00Z"},
        "authoredOn": "2026-05-04T10:11:12Z",
        "lastModified": "2026-05-04T11:00:00Z",
        "requester": {"reference": "PractitionerRole/pr-1", "display": "Dr. Example"},
        "performerType": [concept("http://snomed.info/sct", "768730001", "Home health aide")],
        "owner": {"reference": "Organization/hub-1", "display": "Example Community Hub"},
        "location": {"reference": "Location/l-1"},
        "reasonCode": concept("http://hl7.org/fhir/sid/icd-10-cm", "Z59.00", "Homelessness"),
        "insurance": [{"reference": "Coverage/c-1"}],
        "note": [{"time": "2026-05-04T10:20:00Z", "text": "Prefers text messages."}],
        "restriction": {"repetitions": 1, "recipient": [{"reference": "Organization/hub-1"}]},
        "input": [
            {
                "type": concept(codes, "risk-questionnaire", "Risk questionnaire"),
                "valueReference": {"reference": "QuestionnaireResponse/q-1"},
            },
            {"type": {"text": "max visits"}, "valueInteger": 12},
        ],
        "output": [
            {
                "type": concept(codes, "resulting-activity", "Resulting activity"),
                "valueReference": {"reference": "Procedure/proc-1"},
            }
        ],
    }


def guides() -> Library:
    """SDOH Clinical Care and US Core where they lie beside the project, else our own guide."""
    folders = [EXAMPLES / "sdohcc-3.0.0/definitions", EXAMPLES / "us-core-7.0.0"]
    files = [path.read_bytes() for folder in folders for path in sorted(folder.glob("*-*.json"))]
    return Library(lambda: [own_guide(), package_of("guides", "0", files)])


def figures(_: Sizes) -> Iterator[Figure]:
    """Base R4 alone, and with the profile that the Task names; median rounds."""
    library = guides()
    task = parse_json(orjson.dumps(a_task()))
    yield Figure("validate a Task, base R4", per_second(lambda: issues_of(task))[1])

    def both() -> None:
        issues_of(task)
        profile_issues(task, profiles=declared(task), library=library)

    yield Figure("validate a Task, base and profile", per_second(both)[1])


def main() -> None:
    print(f"started: {memory():.0f} MiB")
    start = time.perf_counter()
    definitions.structure("Task")
    print(f"definitions: {(time.perf_counter() - start) * 1e3:.0f} ms, {memory():.0f} MiB")
    for kind in ("Extension", *sorted(SUPPORTED_TYPES)):
        before = memory()
        start = time.perf_counter()
        schema_compiler.validator_of(kind)
        inspection_plans.plan_of(kind)
        took = (time.perf_counter() - start) * 1e3
        print(f"  {kind}: {took:.1f} ms, {memory() - before:.1f} MiB")
    print(f"all {len(SUPPORTED_TYPES)} served types: {memory():.0f} MiB")

    library = guides()
    task = parse_json(orjson.dumps(a_task()))
    body = orjson.dumps(task)
    entry = {"resource": task, "request": {"method": "PUT", "url": "Task/t"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry] * 20}
    asked: dict[str, Callable[[], Any]] = {
        f"Task of {len(body)} bytes": lambda: issues_of(task),
        "  its schema alone": lambda: schema_compiler.validator_of("Task").is_valid(task),
        "  with parsing": lambda: issues_of(parse_json(body)),
        "  with two faults": lambda: issues_of({**task, "status": "x", "authoredOn": "2026-02-30"}),
        "  its profile": lambda: profile_issues(task, profiles=declared(task), library=library),
        "  base R4 and its profile": lambda: (
            issues_of(task),
            profile_issues(task, profiles=declared(task), library=library),
        ),
        "Bundle of 20 of them": lambda: issues_of(bundle),
    }
    for path in sorted(EXAMPLES.glob("sdohcc-2.3.0-rendered/Task-*InformationRequest*.json")):
        example = parse_json(path.read_bytes())
        asked[f"{path.name}, {path.stat().st_size} bytes"] = partial(issues_of, example)
    for name, ask in asked.items():
        best, median = per_second(ask, calls=20 if "Bundle" in name else 300)
        print(f"{name}: {best:,.0f}/s best, {median:,.0f}/s median")


if __name__ == "__main__":
    sys.exit(main())
