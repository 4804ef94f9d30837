"""Implementation-guide packages read, and all that they define looked up by canonical URL.

A package comes from outside and is unpacked in memory, within limits, never onto a disk. Versions
of a definition stand side by side. After: `profiles`. https://hl7.org/fhir/R4/packages.html
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NoReturn

import orjson

from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir.codec import Json

KEPT_TYPES: Final = frozenset(
    {
        "CapabilityStatement",
        "CodeSystem",
        "ConceptMap",
        "ImplementationGuide",
        "NamingSystem",
        "OperationDefinition",
        "Questionnaire",
        "SearchParameter",
        "StructureDefinition",
        "ValueSet",
    }
)


@dataclass(frozen=True, slots=True)
class Definition:
    """One definition as its package has it; its JSON is parsed when it is asked for."""

    url: str
    version: str
    type: str
    package: str  # name#version of the package it came with
    body: bytes

    def parsed(self) -> Json:
        """The resource."""
        found: Json = orjson.loads(self.body)
        return found


@dataclass(frozen=True, slots=True)
class Package:
    """A package's name and version, and the definitions in it."""

    name: str
    version: str
    definitions: tuple[Definition, ...]

    @property
    def id(self) -> str:
        """The name by which the packages of the world are told apart: name#version."""
        return f"{self.name}#{self.version}"


@dataclass(frozen=True, slots=True)
class PackageLimits:
    """How much a package may hold before it is refused."""

    packed_bytes: int = 32 * 1024 * 1024
    unpacked_bytes: int = 256 * 1024 * 1024
    file_bytes: int = 32 * 1024 * 1024
    files: int = 20_000


class Library:
    """All definitions held, by canonical URL; read at the first question, or by `index` before.

    `read` gives the packages; where two have the same URL and version, the later one counts.
    """

    def __init__(self, read: Callable[[], Iterable[Package]]) -> None:
        self._read = read

    def resolve(self, canonical: str, kind: str = "StructureDefinition") -> Definition | None:
        """The definition that `url` (the newest) or `url|version` names; None if it is not held."""
        url, _, version = canonical.partition("#")[0].partition("|")
        return self._by_url.get((kind, url), {}).get(version)

    def index(self) -> None:
        """Read the packages now, which takes seconds for large ones, and let go of their source."""
        _ = self._by_url

    @cached_property
    def _by_url(self) -> Mapping[tuple[str, str], Mapping[str, Definition]]:
        """Each version by its name, and the newest by none."""
        found: dict[tuple[str, str], dict[str, Definition]] = {}
        for package in self._read():
            for definition in package.definitions:
                found.setdefault((definition.type, definition.url), {})[definition.version] = (
                    definition
                )
        for versions in found.values():
            versions[""] = versions[max(versions, key=_order)]
        self._read = tuple  # it may hold the packed bytes, which nobody needs again
        return found


EMPTY_LIBRARY: Final = Library(tuple)


def read_package(data: bytes, *, limits: PackageLimits = PackageLimits()) -> Package:
    """Read an NPM-layout package (.tgz): `package/package.json` and `package/*.json`.

    Resources of other types than definitions, and of folders below, are passed over. Raises
    ResourceRejected for what is no such package, for another FHIR version than 4.0, for paths
    that lead out of it, links, and more than the limits allow.
    """
    if len(data) > limits.packed_bytes:
        _refuse("package-size", f"The package is larger than {limits.packed_bytes} bytes.")
    files = dict(_files(data, limits))
    manifest = _object(files.pop("package/package.json", b""))
    if manifest is None or not _is_name(manifest.get("name")):
        _refuse("package-layout", "There is no package/package.json with a name: no FHIR package.")
    name, version = str(manifest["name"]), str(manifest.get("version", ""))
    if not _is_name(version):
        _refuse("package-layout", "The package.json names no version.")
    fhir_versions = manifest.get("fhirVersions") or manifest.get("fhir-version-list") or []
    if not any(str(v).startswith("4.0.") for v in fhir_versions):
        _refuse("package-fhir-version", "The package is not for FHIR R4 (4.0.x).")
    bodies = (body for path, body in files.items() if path.count("/") == 1)
    return package_of(name, version, bodies)


def package_of(name: str, version: str, bodies: Iterable[bytes]) -> Package:
    """A package made of definitions as JSON; what defines nothing is passed over."""
    found = (_definition(body, f"{name}#{version}") for body in bodies)
    return Package(name, version, tuple(d for d in found if d is not None))


_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _files(data: bytes, limits: PackageLimits) -> Iterator[tuple[str, bytes]]:
    """Yield the JSON files below `package/`, each only after it is known to be harmless."""
    unpacked = _unpacked(data, limits)
    try:
        with tarfile.TarFile(fileobj=io.BytesIO(unpacked)) as archive:
            for count, member in enumerate(archive, start=1):
                _check(member, count=count, limits=limits)
                if member.name.startswith("package/") and member.name.endswith(".json"):
                    file = archive.extractfile(member)
                    yield member.name, file.read() if file else b""
    except (tarfile.TarError, EOFError, OSError, ValueError):
        _refuse("package-layout", _NO_ARCHIVE)


_NO_ARCHIVE: Final = "The file is not a gzipped tar archive."


def _unpacked(data: bytes, limits: PackageLimits) -> bytes:
    """The archive, as much of it as is allowed: a few bytes may claim to be very many."""
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(data)).read(limits.unpacked_bytes + 1)
    except (EOFError, OSError, zlib.error):
        _refuse("package-layout", _NO_ARCHIVE)
    if len(unpacked) > limits.unpacked_bytes:
        _refuse("package-size", "The package unpacks to more than is allowed.")
    return unpacked


def _check(member: tarfile.TarInfo, *, count: int, limits: PackageLimits) -> None:
    if count > limits.files:
        _refuse("package-size", f"The package has more than {limits.files} files.")
    if member.size > limits.file_bytes:
        _refuse("package-size", "A file in the package is larger than is allowed.")
    if member.name.startswith("/") or ".." in member.name.split("/") or "\\" in member.name:
        _refuse("package-path", "A path in the package leads out of it.")
    if not (member.isfile() or member.isdir()):
        _refuse("package-path", "The package has links or devices; only files are taken.")


def _definition(body: bytes, package: str) -> Definition | None:
    resource = _object(body)
    if resource is None or resource.get("resourceType") not in KEPT_TYPES:
        return None
    url, version = resource.get("url"), resource.get("version", "")
    if not isinstance(url, str) or not isinstance(version, str):
        return None
    return Definition(url, version, resource["resourceType"], package, body)


def _object(body: bytes) -> Json | None:
    try:
        found = orjson.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _order(version: str) -> tuple[tuple[tuple[int, int | str], ...], bool, str]:
    """Sort versions as people do: 2.10.0 after 2.9.1, a release after its ballots."""
    release, dash, label = version.partition("-")
    steps = tuple((1, int(s)) if s.isdecimal() else (0, s) for s in release.split("."))
    return steps, not dash, label


def _refuse(rule: str, message: str) -> NoReturn:
    raise ResourceRejected(issues=[Issue("", message, code="structure", rule=rule)])
