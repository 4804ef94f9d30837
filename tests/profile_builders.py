"""Made-up profiles and packages, and the definitions of the guides that lie beside the project."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.packages import Library, Package, package_of

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "fhir"
BASE = "https://made-up.example"
CORE = "http://hl7.org/fhir/StructureDefinition/"

_GUIDES = {
    "hl7.fhir.us.sdoh-clinicalcare": "sdohcc-3.0.0/definitions",
    "hl7.fhir.us.core": "us-core-7.0.0",
    "hl7.fhir.us.bser": "bser-2.0.0/definitions",
    "hl7.fhir.us.hsds": "hsds-fhir-1.0.0/definitions",
    "hl7.fhir.uv.subscriptions-backport": "subscriptions-backport-1.1.0/definitions",
    "hl7.fhir.uv.bulkdata": "bulk-data-3.0.0",
}


def a_profile(kind: str, *elements: Json, id_: str = "test", **changes: Any) -> Json:
    """A profile on a base type, by differential. Elements: `{"id": "Task.focus", "min": 1}`."""
    return {
        "resourceType": "StructureDefinition",
        "id": id_,
        "url": f"{BASE}/StructureDefinition/{id_}",
        "version": "1.0.0",
        "name": id_.title(),
        "status": "draft",
        "kind": "resource",
        "abstract": False,
        "type": kind,
        "baseDefinition": CORE + kind,
        "derivation": "constraint",
        "differential": {"element": [_with_path(element) for element in elements]},
        **changes,
    }


def an_extension(id_: str, *elements: Json) -> Json:
    """An extension's definition; its url is fixed."""
    url = f"{BASE}/StructureDefinition/{id_}"
    return a_profile("Extension", {"id": "Extension.url", "fixedUri": url}, *elements, id_=id_) | {
        "kind": "complex-type"
    }


def a_value_set(id_: str, **compose: Any) -> Json:
    """A value set of these includes and excludes."""
    url = f"{BASE}/ValueSet/{id_}"
    return {"resourceType": "ValueSet", "id": id_, "url": url, "version": "1", "compose": compose}


def a_package(*definitions: Json, name: str = "made.up.guide", version: str = "1.0.0") -> Package:
    """A package of these definitions."""
    return package_of(name, version, [json.dumps(d).encode() for d in definitions])


def a_library(*definitions: Json) -> Library:
    """A library that holds these definitions."""
    return Library(lambda: [a_package(*definitions)])


def an_archive(
    files: Mapping[str, Any], *, name: str = "made.up.guide", fhir: str = "4.0.1", **manifest: Any
) -> bytes:
    """An NPM-layout package as bytes: these files below `package/`, and its package.json."""
    about = {"name": name, "version": "1.0.0", "fhirVersions": [fhir], **manifest}
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for path, content in {"package/package.json": about, **files}.items():
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            member = tarfile.TarInfo(path)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return data.getvalue()


@cache
def shared_library() -> Library:
    """The guides that lie beside the project, read in place, and our own."""
    folders = {name: SHARED / folder for name, folder in _GUIDES.items()}
    folders["fhir-hub-bridge.guide"] = ROOT / "profiles"
    packages = [
        package_of(name, "0", [path.read_bytes() for path in sorted(folder.glob("*-*.json"))])
        for name, folder in folders.items()
    ]
    return Library(lambda: packages)


def _with_path(element: Json) -> Json:
    steps = [step.partition(":")[0] for step in element["id"].split(".")]
    name = element["id"].rpartition(".")[2].partition(":")[2]
    return {**element, "path": ".".join(steps), **({"sliceName": name} if name else {})}
