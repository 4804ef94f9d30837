"""Writes what is generated in this folder; everything else here is written by hand.

`python -m profiles.generate` (from the top folder) rewrites, `--check` only says what is stale
(exit 1). Nothing is ever removed. Hand-written definitions get the version of the package. A test
keeps all current.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from profiles.story import examples, supporting

from fhir_hub_bridge.mapping.catalog import load_catalog
from fhir_hub_bridge.mapping.guide import guide_resources
from fhir_hub_bridge.mapping.guide_rows import read_concepts

FOLDER = Path(__file__).parent
MAPPINGS = FOLDER.parent / "mappings"
GENERATED = ("CodeSystem", "ValueSet", "ConceptMap", "NamingSystem")


def wanted() -> dict[Path, str]:
    """Every JSON file of this folder as it should be."""
    catalog = load_catalog(MAPPINGS)
    generated = guide_resources(catalog, read_concepts(MAPPINGS), version=version())
    shown = [example.resource for example in examples(catalog.rulebook)]
    return {
        **{_path(FOLDER, resource): _text(resource) for resource in generated},
        **{path: _text(_stamped(_read(path))) for path in by_hand()},
        **{
            _path(FOLDER / "examples", resource): _text(resource)
            for resource in [*shown, *supporting(catalog.rulebook)]
        },
    }


def by_hand() -> list[Path]:
    """The definitions that are written by hand: those of types that are not generated."""
    return [
        path
        for path in sorted(FOLDER.glob("*-*.json"))
        if path.name.split("-", 1)[0] not in GENERATED
    ]


def stale() -> list[Path]:
    """Files that are missing, not as they should be, or of a generated type and not wanted."""
    should = wanted()
    differing = {path for path, text in should.items() if not _is(path, text)}
    generated = {path for kind in GENERATED for path in FOLDER.glob(f"{kind}-*.json")}
    return sorted(differing | (generated - should.keys()))


def version() -> str:
    """The version of the package, which is that of the guide."""
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])


def main(arguments: Sequence[str]) -> int:
    """Rewrite what is stale, or with --check name it; what nobody wants is always named."""
    should = wanted()
    left = []
    for path in stale():
        if path in should and "--check" not in arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(should[path], encoding="utf-8")
        else:
            left.append(path)
            sys.stderr.write(f"stale: {path.relative_to(FOLDER)}\n")
    return 1 if left else 0


def _stamped(definition: dict[str, Any]) -> dict[str, Any]:
    year, month, *_ = version().split(".")
    return definition | {"version": version(), "date": f"{year}-{month:0>2}"}


def _read(path: Path) -> dict[str, Any]:
    definition: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return definition


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _path(folder: Path, resource: dict[str, Any]) -> Path:
    return folder / f"{resource['resourceType']}-{resource['id']}.json"


def _text(resource: dict[str, Any]) -> str:
    return json.dumps(resource, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
