"""The guide's codes, maps and names say what the data and the translator say."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests import builders

import fhir_hub_bridge
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.definitions import codes_of
from fhir_hub_bridge.fhir.typed import to_typed
from fhir_hub_bridge.mapping.guide_maps import BSER_STATUS
from fhir_hub_bridge.mapping.referral_to_fhir import ResourceIds, Translating, translate
from fhir_hub_bridge.mapping.sheet import Sheet
from fhir_hub_bridge.mapping.status_to_task import CLOSING, TASK_STATUS
from fhir_hub_bridge.referral.model import Act, NoticeType, ReferralStatus

ROOT = Path(__file__).parents[2]
CODES_FOLDER = ROOT / "mappings" / "codes"
PACKAGE = Path(fhir_hub_bridge.__file__).parent

TABLES = {
    "clr-closure-reason": "closure-reason",
    "clr-authorization-status": "authorization-status",
    "clr-authorization-basis": "authorization-basis",
    "clr-service": "services",
    "clr-referral-source": "referral-source",
    "clr-population-of-focus": "populations-of-focus",
}
OURS = re.compile(
    rf"{re.escape(canonical.BASE)}/(CodeSystem|ValueSet|StructureDefinition|ConceptMap)/[a-z0-9-]+"
)


@cache
def guide() -> dict[str, Json]:
    """The guide's resources, without examples, by `Type/id`."""
    found = [json.loads(path.read_text()) for path in (ROOT / "profiles").glob("*.json")]
    return {f"{r['resourceType']}/{r['id']}": r for r in found}


def concepts(system: str) -> dict[str, Json]:
    """The concepts of a CodeSystem by code; `system` is an id or a URL."""
    found = guide()[f"CodeSystem/{system.rsplit('/', 1)[-1]}"]["concept"]
    return {concept["code"]: concept for concept in found}


def attributes(concept: Json) -> dict[str, Any]:
    """The properties of a concept that occur once."""
    return {p["code"]: next(v for k, v in p.items() if k != "code") for p in concept["property"]}


def test_every_resource_of_the_guide_is_fhir() -> None:
    for resource in guide().values():
        to_typed(resource)


@pytest.mark.parametrize("system", TABLES)
def test_every_code_is_its_row_with_source_and_confidence(system: str) -> None:
    text = (CODES_FOLDER / f"{TABLES[system]}.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))

    said = [
        (code, c["display"], attributes(c)["source"], attributes(c)["confidence"])
        for code, c in concepts(system).items()
    ]

    assert said == [(r["code"], r["label"], r["source"], r["confidence"]) for r in rows]


def test_other_columns_of_a_row_are_properties_of_its_concept() -> None:
    reason = attributes(concepts("clr-closure-reason")["services-received"])
    service = concepts("clr-service")["housing-deposits"]

    assert reason["served"] is True
    assert reason["task-status"] == "completed"
    assert attributes(service)["clr-from"] == "2025-07-01"
    assert {"code": "billing-code", "valueString": "H0044 U2"} in service["property"]


def test_no_concept_is_without_source_or_confidence_and_all_properties_are_declared() -> None:
    for key, system in guide().items():
        if not key.startswith("CodeSystem/"):
            continue
        declared = {p["code"]: p["type"] for p in system["property"]}
        for concept in system["concept"]:
            assert {"source", "confidence"} <= attributes(concept).keys()
            for found in concept["property"]:
                name = declared[found["code"]]
                assert f"value{name[0].upper()}{name[1:]}" in found


def test_referral_statuses_are_the_five_in_the_words_of_dhcs() -> None:
    found = concepts(canonical.REFERRAL_STATUS)

    assert list(found) == [status.value for status in ReferralStatus]
    assert attributes(found["declined"])["confidence"] == "verified"
    assert attributes(found["pending"])["confidence"] == "secondary"


def test_notice_types_outputs_and_tags_are_those_of_the_code() -> None:
    assert set(concepts(canonical.NOTICE_TYPE)) == {notice.value for notice in NoticeType}
    assert set(concepts(canonical.OUTPUT_TYPE)) == {"authorization-decision", "assigned-provider"}
    assert set(concepts(canonical.TAG)) == {canonical.TAG_INFERRED, canonical.TAG_LATE}


def test_every_rule_that_refuses_a_change_is_in_the_code_system() -> None:
    named = {
        argument.value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "RuleBroken"
        for argument in node.args[:1]
        if isinstance(argument, ast.Constant)
    }

    assert named | builders.a_rulebook().suppressions.keys() == concepts(canonical.RULE).keys()


def stories() -> Iterator[tuple[Act, ...]]:
    """Acts that make the translator use every code it knows."""
    rulebook = builders.a_rulebook()
    for status in rulebook.authorization_statuses:
        yield (builders.a_decision(status),)
    for basis in rulebook.authorization_bases:
        yield (builders.a_decision(basis=basis),)
    for report in (ReferralStatus.ACCEPTED, ReferralStatus.OUTREACH_INITIATED):
        yield (*builders.ASSIGNED_TO_HARBOR, builders.a_report(report))
    yield (*builders.ASSIGNED_TO_HARBOR, builders.a_report(ReferralStatus.DECLINED))
    for row in rulebook.closure_reasons.values():
        closure = builders.a_closure(row.code, text="Made-up words", provider=None)
        yield (*builders.ASSIGNED_TO_HARBOR, closure)


def emitted() -> Iterator[Json]:
    """All versions that the translator writes in these stories."""
    for service in builders.a_rulebook().services:
        sheet = Sheet({})
        numbers = count(1)
        by = Translating(builders.a_rulebook(), builders.NOW, lambda n=numbers: f"id{next(n)}")
        refer = builders.a_refer(service=service)
        for acts in stories() if service == "ecm" else [()]:
            ids = ResourceIds()
            for event, referral in builders.moments(*acts, refer=refer):
                ids = translate(referral, (event,), ids=ids, sheet=sheet, by=by)
        yield from (draft.resource for draft in sheet.drafts)


def parts(value: Any) -> Iterator[Json]:
    """Every object within."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value:
        if isinstance(child, dict | list):
            yield from parts(child)


def test_every_code_that_the_translator_writes_is_in_a_code_system() -> None:
    used: set[tuple[str, str]] = set()

    for part in (part for resource in emitted() for part in parts(resource)):
        if str(part.get("system", "")).startswith(f"{canonical.BASE}/CodeSystem/"):
            used.add((part["system"], part["code"]))
        if part.get("url") == canonical.AUTHORIZATION_BASIS_EXTENSION:
            used.add((f"{canonical.BASE}/CodeSystem/clr-authorization-basis", part["valueCode"]))

    assert {code for system, code in used if code not in concepts(system)} == set()
    # All of these were really met.
    for system in ("clr-service", "clr-authorization-status", "clr-authorization-basis"):
        assert {c for s, c in used if s.endswith(system)} == set(concepts(system))
    assert {c for s, c in used if s == canonical.CLOSURE_REASON} == set(
        concepts(canonical.CLOSURE_REASON)
    )
    assert {c for s, c in used if s == canonical.REFERRAL_STATUS} == set(
        concepts(canonical.REFERRAL_STATUS)
    )
    assert (canonical.TAG, canonical.TAG_INFERRED) in used


def test_canonical_urls_are_unique_and_end_with_type_and_id() -> None:
    with_url = {key: r["url"] for key, r in guide().items() if "url" in r}

    assert all(url == f"{canonical.BASE}/{key}" for key, url in with_url.items())
    assert max(Counter(with_url.values()).values()) == 1


def texts(value: Any) -> Iterable[str]:
    """Every text within."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from texts(child)


def test_what_the_guide_names_of_its_own_is_in_the_guide() -> None:
    defined = {r["url"] for r in guide().values() if "url" in r}

    named = {
        match[0]
        for resource in guide().values()
        for text in texts(resource)
        for match in OURS.finditer(text)
    }

    assert named - defined == set()


def test_every_name_of_ours_is_defined() -> None:
    defined = {r["url"] for r in guide().values() if "url" in r}
    defined |= {
        unique["value"] for r in guide().values() for unique in r.get("uniqueId", ()) if unique
    }
    ours = {
        value
        for name, value in vars(canonical).items()
        if name != "BASE" and isinstance(value, str) and value.startswith(canonical.BASE)
    }

    assert ours - defined == set()


def test_every_code_system_has_its_value_set() -> None:
    for key, system in guide().items():
        if key.startswith("CodeSystem/"):
            whole = guide()[key.replace("CodeSystem", "ValueSet")]

            assert whole["url"] == system["valueSet"]
            assert whole["compose"] == {"include": [{"system": system["url"]}]}


def pairs(map_id: str) -> list[tuple[str, Json]]:
    """The (source code, target) pairs of a ConceptMap."""
    (group,) = guide()[f"ConceptMap/{map_id}"]["group"]
    return [(e["code"], target) for e in group["element"] for target in e["target"]]


def test_the_status_map_is_the_translators_table() -> None:
    found = {
        (target["dependsOn"][0]["value"], code): target["code"]
        for code, target in pairs("clr-referral-status-to-task-status")
        if code != "loop-closed"
    }

    assert found == {(now, s.value): to for (now, s), to in TASK_STATUS.items() if to != CLOSING}


def test_a_closed_loop_maps_to_the_task_status_of_its_reason() -> None:
    reasons = builders.a_rulebook().closure_reasons.values()
    expected = {reason.code: reason.task_status for reason in reasons}

    by_status = {
        target["dependsOn"][0]["value"]: target["code"]
        for code, target in pairs("clr-referral-status-to-task-status")
        if code == "loop-closed"
    }
    by_reason = {
        code: target["code"] for code, target in pairs("clr-closure-reason-to-task-status")
    }

    assert by_status == by_reason == expected
    by_system = codes_of("http://hl7.org/fhir/ValueSet/task-status|4.0.1")
    assert set(expected.values()) <= set(by_system["http://hl7.org/fhir/task-status"])


def test_bsers_business_status_maps_to_codes_of_ours_or_says_why_not() -> None:
    found = dict(pairs("bser-business-status-to-clr-referral-status"))

    (group,) = guide()["ConceptMap/bser-business-status-to-clr-referral-status"]["group"]
    assert group["source"] == BSER_STATUS
    assert len(found) == 10
    assert found["3.0"]["code"] == "accepted"
    assert found["4.0"]["code"] == "declined"
    for target in found.values():
        if target["equivalence"] == "unmatched":
            assert "code" not in target
        else:
            assert target["code"] in concepts(canonical.REFERRAL_STATUS)


def test_maps_comment_what_is_not_exact() -> None:
    for key in guide():
        if key.startswith("ConceptMap/"):
            for _, target in pairs(key.split("/")[1]):
                # R4 ConceptMap invariant cmd-1
                assert target.get("comment") or target["equivalence"] not in ("narrower", "inexact")
