"""The compact definitions file depends on the official package alone."""

from __future__ import annotations

import importlib.util
import io
import json
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOOL = Path(__file__).resolve().parents[3] / "tools" / "compact_r4_definitions.py"
BASE = "http://hl7.org/fhir/StructureDefinition/"

MANIFEST = {
    "name": "hl7.fhir.r4.core",
    "version": "4.0.1",
    "fhirVersions": ["4.0.1"],
    "license": "CC0-1.0",
}
STRUCTURE = {
    "resourceType": "StructureDefinition",
    "id": "Thing",
    "url": f"{BASE}Thing",
    "kind": "resource",
    "abstract": False,
    "derivation": "specialization",
    "baseDefinition": f"{BASE}DomainResource",
    "snapshot": {
        "element": [
            {
                "path": "Thing",
                "constraint": [
                    {"key": "thg-1", "severity": "error", "human": "h", "expression": "true"},
                    {
                        "key": "dom-2",
                        "severity": "error",
                        "human": "h",
                        "expression": "true",
                        "source": f"{BASE}DomainResource",
                    },
                ],
            },
            {
                "path": "Thing.status",
                "base": {"path": "Thing.status"},
                "min": 1,
                "max": "1",
                "type": [{"code": "code"}],
                "isModifier": True,
                "isSummary": True,
                "fixedBoolean": False,
                "binding": {"strength": "required", "valueSet": "http://hl7.org/fhir/vs|4.0.1"},
            },
        ]
    },
}
VALUE_SET = {
    "resourceType": "ValueSet",
    "url": "http://hl7.org/fhir/vs",
    "compose": {"include": [{"system": "http://hl7.org/fhir/cs"}]},
}
CODE_SYSTEM = {
    "resourceType": "CodeSystem",
    "url": "http://hl7.org/fhir/cs",
    "content": "complete",
    "concept": [{"code": "a", "concept": [{"code": "b"}]}],
}
PROFILE = {**STRUCTURE, "id": "profile", "derivation": "constraint"}


def a_package(*resources: dict[str, Any]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for index, resource in enumerate(resources):
            data = json.dumps(resource).encode()
            member = tarfile.TarInfo(f"package/{index}.json")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compact_r4_definitions", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_needed_is_kept_and_the_rest_left(tool: ModuleType) -> None:
    package = a_package(MANIFEST, STRUCTURE, VALUE_SET, CODE_SYSTEM, PROFILE)

    compact = tool._compacted(package)

    assert compact["header"]["licence"] == "CC0-1.0"
    assert compact["types"] == {
        "Thing": {
            "kind": "resource",
            "base": "DomainResource",
            "constraints": [
                {"key": "thg-1", "severity": "error", "human": "h", "expression": "true"}
            ],
            "elements": [
                {
                    "path": "Thing.status",
                    "min": 1,
                    "max": "1",
                    "types": [{"code": "code"}],
                    "binding": {"strength": "required", "set": "http://hl7.org/fhir/vs|4.0.1"},
                    "modifier": True,
                    "summary": True,
                    "fixedBoolean": False,
                }
            ],
        }
    }
    assert compact["value_sets"] == {
        "http://hl7.org/fhir/vs|4.0.1": {"http://hl7.org/fhir/cs": ["a", "b"]}
    }


def test_same_package_gives_the_same_bytes(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "core.tgz"
    source.write_bytes(a_package(MANIFEST, STRUCTURE, VALUE_SET, CODE_SYSTEM))
    written = []

    for name in ("one", "two"):
        monkeypatch.setattr(tool, "TARGET", tmp_path / name / "r4.json.gz")
        tool.main([str(source)])
        written.append((tmp_path / name / "r4.json.gz").read_bytes())

    assert written[0] == written[1]


def test_value_set_that_it_could_get_wrong_stops_it(tool: ModuleType) -> None:
    filtered = {"include": [{"system": "http://hl7.org/fhir/cs", "filter": [{}]}]}
    package = a_package(MANIFEST, STRUCTURE, {**VALUE_SET, "compose": filtered}, CODE_SYSTEM)

    with pytest.raises(ValueError, match="cannot yet"):
        tool._compacted(package)
