"""The implementation guide in `profiles/` is what `profiles/generate.py` would write."""

from __future__ import annotations

import json
from pathlib import Path

from profiles import generate


def test_no_file_of_the_guide_is_stale() -> None:
    assert [path.name for path in generate.stale()] == []


def test_every_definition_written_by_hand_has_the_version_of_the_package() -> None:
    versions = {json.loads(path.read_text())["version"] for path in generate.by_hand()}

    assert versions == {generate.version()}


def test_every_file_is_named_after_its_resource() -> None:
    for path in Path(generate.FOLDER).rglob("*.json"):
        resource = json.loads(path.read_text())

        assert path.name == f"{resource['resourceType']}-{resource['id']}.json"


def test_a_check_changes_nothing_and_finds_nothing() -> None:
    before = {p: p.stat().st_mtime_ns for p in Path(generate.FOLDER).rglob("*.json")}

    assert generate.main(["--check"]) == 0

    assert {p: p.stat().st_mtime_ns for p in Path(generate.FOLDER).rglob("*.json")} == before
