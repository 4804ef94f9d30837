"""Implementation-guide packages: what is read, what is refused, how a definition is found."""

from __future__ import annotations

import gzip
import io
import tarfile
import weakref
from typing import Any

import pytest
from tests.profile_builders import BASE, a_package, a_profile, a_value_set, an_archive

from fhir_hub_bridge.errors import ResourceRejected
from fhir_hub_bridge.fhir.packages import Library, PackageLimits, read_package

PROFILE = a_profile("Task")


def refused(data: bytes, **limits: Any) -> str:
    """The rule by which a package is refused."""
    with pytest.raises(ResourceRejected) as caught:
        read_package(data, limits=PackageLimits(**limits))
    return caught.value.issues[0].rule


def test_a_package_gives_its_name_version_and_definitions() -> None:
    files = {
        "package/StructureDefinition-test.json": PROFILE,
        "package/ValueSet-colours.json": a_value_set("colours"),
        "package/Patient-example.json": {"resourceType": "Patient"},
        "package/example/Task-1.json": PROFILE | {"url": "urn:example"},
        "package/other/spec.internals": b"\x00",
        "package/.index.json": {"files": []},
    }

    package = read_package(an_archive(files))

    assert package.id == "made.up.guide#1.0.0"
    assert sorted(d.url for d in package.definitions) == [
        f"{BASE}/StructureDefinition/test",
        f"{BASE}/ValueSet/colours",
    ]
    assert {d.package for d in package.definitions} == {"made.up.guide#1.0.0"}


@pytest.mark.parametrize("fhir", ["4.3.0", "5.0.0", "3.0.2"])
def test_a_package_for_another_fhir_version_is_refused(fhir: str) -> None:
    assert refused(an_archive({}, fhir=fhir)) == "package-fhir-version"


def test_what_is_no_package_is_refused() -> None:
    assert refused(b"not a package") == "package-layout"
    assert refused(gzip.compress(b"not an archive")) == "package-layout"
    assert refused(an_archive({})[:40]) == "package-layout"
    assert refused(an_archive({}, name="../../etc")) == "package-layout"
    assert refused(an_archive({"package/package.json": {"version": "1"}})) == "package-layout"


@pytest.mark.parametrize("path", ["package/../../x.json", "/etc/x.json", "package\\..\\x.json"])
def test_a_path_that_leads_out_is_refused(path: str) -> None:
    assert refused(an_archive({path: PROFILE})) == "package-path"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(kind: bytes) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        member = tarfile.TarInfo("package/a.json")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)

    assert refused(data.getvalue()) == "package-path"


def test_more_than_the_limits_is_refused() -> None:
    archive = an_archive({f"package/{n}.json": PROFILE for n in range(5)})

    assert refused(archive, packed_bytes=100) == "package-size"
    assert refused(archive, unpacked_bytes=2000) == "package-size"
    assert refused(archive, file_bytes=200) == "package-size"
    assert refused(archive, files=3) == "package-size"


def test_few_bytes_that_unpack_to_very_many_are_refused_before_they_are_unpacked() -> None:
    assert refused(gzip.compress(b"\0" * 50_000_000), unpacked_bytes=1_000_000) == "package-size"


def test_the_newest_version_is_found_unless_another_is_named() -> None:
    versions = ("2.9.1", "2.10.0", "2.10.0-ballot")
    packages = [a_package(a_profile("Task", version=version)) for version in versions]
    library = Library(lambda: packages)
    url = PROFILE["url"]

    def version_of(canonical: str) -> str | None:
        found = library.resolve(canonical)
        return found.version if found else None

    assert version_of(url) == "2.10.0"
    assert [version_of(f"{url}|{version}") for version in versions] == [*versions]
    assert version_of(f"{url}|3") is None
    assert version_of("urn:unknown") is None


def test_a_url_is_that_of_one_type() -> None:
    library = Library(lambda: [a_package(a_value_set("colours"))])

    assert library.resolve(f"{BASE}/ValueSet/colours", "ValueSet") is not None
    assert library.resolve(f"{BASE}/ValueSet/colours") is None


def test_packages_are_read_at_the_first_question_and_once() -> None:
    reads = []

    def read() -> list[Any]:
        reads.append(1)
        return [a_package(PROFILE)]

    library = Library(read)
    assert reads == []

    library.resolve(PROFILE["url"])
    library.resolve("urn:unknown")
    assert reads == [1]


def test_what_packages_were_read_from_is_let_go_of() -> None:
    class Source:
        def __call__(self) -> list[Any]:
            return [a_package(PROFILE)]

    source = Source()
    held = weakref.ref(source)
    library = Library(source)
    del source

    library.index()

    assert held() is None
    assert library.resolve(PROFILE["url"]) is not None
