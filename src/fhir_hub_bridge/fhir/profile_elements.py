"""A profile's elements as a tree: its snapshot, or its differential over its parent's elements.

Slices hang below the element that they slice. What R4 itself says stays in `definitions`.
After: `profile_compiler`. https://hl7.org/fhir/R4/profiling.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.definitions import Element, structure, type_names
from fhir_hub_bridge.fhir.packages import Definition, Library

CORE: Final = "http://hl7.org/fhir/StructureDefinition/"


@dataclass(slots=True, eq=False)
class ProfiledElement:
    """An element of a profile, or a slice of one, with what the profile says of it."""

    rules: Json = field(default_factory=dict)
    children: dict[str, ProfiledElement] = field(default_factory=dict)
    slices: dict[str, ProfiledElement] = field(default_factory=dict)

    @property
    def types(self) -> tuple[Json, ...]:
        """The types that the profile allows; none where it leaves them as they are."""
        return tuple(self.rules.get("type", ()))

    @property
    def min(self) -> int:
        """How often it must be there."""
        found: int = self.rules.get("min", 0)
        return found

    @property
    def max(self) -> int | None:
        """How often it may be there; None where the profile sets no limit."""
        most = self.rules.get("max", "*")
        return None if most == "*" else int(most)


@dataclass(frozen=True, slots=True)
class Tree:
    """A profile's elements, and what of it cannot be judged, in sentences."""

    url: str
    name: str
    type: str
    root: ProfiledElement
    not_checked: tuple[str, ...]


def tree_of(canonical: str, library: Library) -> Tree | None:
    """The elements of a profile; None if it is not held or constrains nothing that R4 has."""
    held = library.resolve(canonical)
    return _tree_of(held, library) if held else None


@lru_cache(maxsize=512)
def _tree_of(held: Definition, library: Library) -> Tree | None:
    definition = held.parsed()
    kind = definition.get("type")
    if kind not in type_names():
        return None
    not_checked: list[str] = []
    elements = _elements(definition, library, not_checked, depth=0)
    root = ProfiledElement()
    for id_, rules in elements.items():
        if "/" in id_:
            not_checked.append(f"the slices of slices at {id_}")
            continue
        _place(root, id_).rules = rules
    name = str(definition.get("name", held.url))
    return Tree(definition["url"], name, str(kind), root, tuple(not_checked))


def core_type(canonical: str) -> str:
    """The R4 type that a canonical URL of the standard itself names, or ""."""
    name = canonical.partition("|")[0].removeprefix(CORE)
    return name if name in type_names() else ""


def children_of(element: Element | None, kinds: Iterable[str]) -> Mapping[str, Element]:
    """R4's elements below an element that has one of these types, by the last step of the path."""
    found: tuple[Element, ...] = ()
    if element is not None:
        owner = structure(element.path.partition(".")[0])
        found = owner.children(element.path)
        if not found and element.content:
            found = structure(element.content.partition(".")[0]).children(element.content)
    if not found and len(known := {kind for kind in kinds if kind in type_names()}) == 1:
        found = structure(known.pop()).children()
    return {each.path.rpartition(".")[2]: each for each in found}


_MOST_ANCESTORS: Final = 20


def _elements(
    definition: Json, library: Library, not_checked: list[str], *, depth: int
) -> dict[str, Json]:
    """All that is said of each element, by its id."""
    if snapshot := definition.get("snapshot", {}).get("element"):
        return {_id(element): element for element in snapshot}
    found: dict[str, Json] = {}
    base = definition.get("baseDefinition", "")
    if not core_type(base):
        parent = library.resolve(base) if depth < _MOST_ANCESTORS else None
        if parent is None:
            not_checked.append(f"what it takes over from {base}, which is not held")
        else:
            found = _elements(parent.parsed(), library, not_checked, depth=depth + 1)
    for element in definition.get("differential", {}).get("element", ()):
        before = found.get(_id(element), {})
        both = [*before.get("constraint", ()), *element.get("constraint", ())]
        found[_id(element)] = {**before, **element, "constraint": both}
    return found


def _id(element: Json) -> str:
    """Its id; a differential may leave it out, and then its path and slice tell."""
    if found := element.get("id"):
        return str(found)
    name = element.get("sliceName")
    return f"{element['path']}:{name}" if name else str(element["path"])


def _place(root: ProfiledElement, id_: str) -> ProfiledElement:
    """Find an element's place in the tree by its id, `Task.output:Result.value[x]`, or make it."""
    node = root
    for step in _steps(id_)[1:]:
        name, _, slice_name = step.partition(":")
        node = node.children.setdefault(name, ProfiledElement())
        if slice_name:
            node = node.slices.setdefault(slice_name, ProfiledElement())
    return node


def _steps(id_: str) -> list[str]:
    """Split an id at its dots, but for those in a slice's name."""
    steps: list[str] = []
    for step in id_.split("."):
        # No element's name begins with a capital or a digit; a slice's, after a dot, may.
        if steps and ":" in steps[-1] and not step[:1].islower():
            steps[-1] += f".{step}"
        else:
            steps.append(step)
    return steps


def fixed_value(rules: Json, word: str) -> Any:
    """The value of `fixed[x]` or `pattern[x]` in an element's rules, or None."""
    return next((value for key, value in rules.items() if key.startswith(word)), None)
