"""Which codes a value set has, as far as the definitions held can tell.

A set that takes in all of a code system that nobody here holds (SNOMED CT) still tells which
systems its codes are of. After: `profile_overlay`. https://hl7.org/fhir/R4/valueset.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from fhir_hub_bridge.fhir import definitions
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.packages import Library


@dataclass(frozen=True, slots=True)
class CodeSet:
    """The codes of a value set by system; None for a system of which not all can be told.

    `excluded` are surely not of it.
    """

    codes: Mapping[str, frozenset[str] | None]
    excluded: frozenset[tuple[str, str]] = field(default_factory=frozenset)

    @property
    def is_whole(self) -> bool:
        """Whether the set can be told to the last code."""
        return None not in self.codes.values()

    def has(self, system: str | None, code: Any) -> bool | None:
        """Whether a code is of the set, None where nobody here knows.

        A bare code (`system` None) is looked for in every system.
        """
        if system is None:
            answers = [self.has(each, code) for each in self.codes]
            return True if True in answers else None if None in answers else False
        if (system, code) in self.excluded or system not in self.codes:
            return False
        known = self.codes[system]
        return None if known is None else code in known


@lru_cache(maxsize=2048)
def codes_of(value_set: str, library: Library) -> CodeSet | None:
    """The codes of a value set by its canonical URL; None where it, or a part, is not held.

    None for one that is malformed, too.
    """
    try:
        return _codes_of(value_set, library, frozenset())
    except (AttributeError, LookupError, TypeError):
        return None


def _codes_of(canonical: str, library: Library, above: frozenset[str]) -> CodeSet | None:
    held = library.resolve(canonical, "ValueSet")
    if held is None:
        url = canonical.partition("|")[0]
        base = definitions.codes_of(f"{url}|4.0.1") or definitions.codes_of(url)
        return None if base is None else CodeSet(base)
    compose = held.parsed().get("compose")
    if not isinstance(compose, dict) or canonical in above:
        return None
    included: dict[str, frozenset[str] | None] = {}
    excluded: set[tuple[str, str]] = set()
    within = above | {canonical}
    for part in compose.get("include", ()):
        found = _part(part, library, within)
        if found is None:
            return None
        excluded |= found.excluded
        for system, codes in found.codes.items():
            known = included.get(system, frozenset())
            included[system] = None if known is None or codes is None else known | codes
    for part in compose.get("exclude", ()):
        found = _part(part, library, within)
        if found is None or not found.is_whole:
            return None
        for system, codes in found.codes.items():
            out = codes or frozenset()
            excluded |= {(system, code) for code in out}
            if known := included.get(system):
                included[system] = known - out
    return CodeSet(included, frozenset(excluded))


def _part(part: Json, library: Library, above: frozenset[str]) -> CodeSet | None:
    """What one include or exclude names: a system's codes, those of other sets, or of both."""
    sets = [_codes_of(canonical, library, above) for canonical in part.get("valueSet", ())]
    if "system" in part:
        sets.append(CodeSet({part["system"]: _of_system(part, library)}))
    if not sets or None in sets:
        return None
    return _common([found for found in sets if found is not None])


def _common(sets: list[CodeSet]) -> CodeSet:
    """What several sets have in common, as R4 reads sets named together."""
    first, *others = sets
    codes = dict(first.codes)
    for other in others:
        codes = {
            system: _both(known, other.codes[system])
            for system, known in codes.items()
            if system in other.codes
        }
    return CodeSet(codes, frozenset().union(*(found.excluded for found in sets)))


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    return None if one is None or other is None else one & other


def _of_system(part: Json, library: Library) -> frozenset[str] | None:
    if "concept" in part:
        return frozenset(concept["code"] for concept in part["concept"])
    held = None if "filter" in part else library.resolve(part["system"], "CodeSystem")
    system = held.parsed() if held else {}
    return frozenset(_codes_in(system)) if system.get("content") == "complete" else None


def _codes_in(parent: Json) -> Iterator[str]:
    concepts: Iterable[Json] = parent.get("concept", ())
    for concept in concepts:
        yield concept["code"]
        yield from _codes_in(concept)
