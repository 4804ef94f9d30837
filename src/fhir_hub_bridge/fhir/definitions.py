"""What FHIR R4 4.0.1 says of its types, as HL7 publishes it: elements, codes, search parameters.

Read once, at the first question, from the compact file that `tools/compact_r4_definitions.py`
makes. After: `schema_compiler`, `validation`. https://hl7.org/fhir/R4/structuredefinition.html
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal, TypeAlias

import orjson

Kind: TypeAlias = Literal["resource", "complex-type", "primitive-type"]


@dataclass(frozen=True, slots=True)
class ElementType:
    """One type that an element may have.

    `targets` are the types that a Reference may name, none for any; `profile` is the constrained
    data type (`SimpleQuantity`) that stands in for `code`, if one does.
    """

    code: str
    targets: tuple[str, ...] = ()
    profile: str = ""

    @property
    def name(self) -> str:
        """The type by whose definition it is judged."""
        return self.profile or self.code


@dataclass(frozen=True, slots=True)
class Constraint:
    """An invariant: its key, `error` or `warning`, its sentence and its FHIRPath expression."""

    key: str
    severity: str
    human: str
    expression: str


@dataclass(frozen=True, slots=True)
class Element:
    """An element as its type defines it; `max` is None where there is no limit.

    `content` is the path of the element whose content this one has (`Questionnaire.item`).
    `limits` holds fixed, pattern, minimum and maximum values by their names in the definition.
    """

    path: str
    min: int
    max: int | None
    types: tuple[ElementType, ...]
    content: str
    binding: str
    strength: str
    constraints: tuple[Constraint, ...]
    is_modifier: bool
    is_summary: bool
    limits: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The last step of the path, without the [x] of a choice of types."""
        return self.path.rpartition(".")[2].removesuffix("[x]")

    @property
    def is_choice(self) -> bool:
        """Whether the JSON name tells which of several types it has."""
        return self.path.endswith("[x]")

    @property
    def is_list(self) -> bool:
        """Whether JSON writes it as an array."""
        return self.max is None or self.max > 1

    def json_name(self, element_type: ElementType) -> str:
        """The JSON property that holds it when it has this type: `valueString`."""
        code = element_type.code
        return f"{self.name}{code[:1].upper()}{code[1:]}" if self.is_choice else self.name


@dataclass(frozen=True, slots=True)
class Structure:
    """A type: its elements in the order of the standard, those within others included."""

    name: str
    kind: Kind
    base: str
    is_abstract: bool
    elements: tuple[Element, ...]
    constraints: tuple[Constraint, ...]

    def children(self, path: str = "") -> tuple[Element, ...]:
        """The elements right below one of this type's paths, or below the type itself."""
        above = f"{path or self.name}."
        depth = above.count(".")
        return tuple(
            e for e in self.elements if e.path.startswith(above) and e.path.count(".") == depth
        )


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """An official search parameter; `components` are (definition, expression) of a composite."""

    url: str
    code: str
    base: tuple[str, ...]
    type: str
    expression: str
    targets: tuple[str, ...]
    components: tuple[tuple[str, str], ...]


@cache
def structure(name: str) -> Structure:
    """Look a resource or data type up by its name. Raises KeyError for one that R4 has not."""
    found = _file()["types"][name]
    return Structure(
        name=name,
        kind=found["kind"],
        base=found.get("base", ""),
        is_abstract=found.get("abstract", False),
        elements=tuple(_element(e) for e in found.get("elements", ())),
        constraints=_constraints(found),
    )


@cache
def type_names() -> frozenset[str]:
    """The names of all resource and data types, those that only others are built on included."""
    return frozenset(_file()["types"])


@cache
def resource_types() -> frozenset[str]:
    """The names of all resource types that can be written down, Resource and its like left out."""
    types = _file()["types"].items()
    return frozenset(name for name, t in types if t["kind"] == "resource" and not t.get("abstract"))


@cache
def primitive_types() -> frozenset[str]:
    """The names of the types whose JSON is one value."""
    return frozenset(n for n, t in _file()["types"].items() if t["kind"] == "primitive-type")


@cache
def codes_of(value_set: str) -> Mapping[str, frozenset[str]] | None:
    """The codes of a value set that some element must take its codes from, by system.

    None for one that the definitions cannot tell whole: currencies, media types, UCUM.
    """
    found = _file()["value_sets"].get(value_set)
    return None if found is None else {s: frozenset(codes) for s, codes in found.items()}


@cache
def search_parameters(kind: str) -> Mapping[str, SearchParameter]:
    """The official search parameters of a resource type by name, those of all types included."""
    bases = {kind, "Resource"}
    if structure(kind).base == "DomainResource":
        bases.add("DomainResource")
    return {
        found["code"]: SearchParameter(
            url=found["url"],
            code=found["code"],
            base=tuple(found["base"]),
            type=found["type"],
            expression=found["expression"],
            targets=tuple(found.get("targets", ())),
            components=tuple(
                (c["definition"], c["expression"]) for c in found.get("components", ())
            ),
        )
        for found in _file()["search_parameters"]
        if not bases.isdisjoint(found["base"])
    }


def compartment(of: str) -> Mapping[str, tuple[str, ...]]:
    """The search parameters by which each type belongs to a compartment (`Patient`)."""
    return {kind: tuple(names) for kind, names in _file()["compartments"][of].items()}


def header() -> Mapping[str, str]:
    """Where the definitions come from: version, source, licence."""
    found: Mapping[str, str] = _file()["header"]
    return found


_FILE: Final = "r4-4.0.1.json.gz"


@cache
def _file() -> Any:
    packed = files("fhir_hub_bridge.fhir").joinpath("data", _FILE).read_bytes()
    return orjson.loads(gzip.decompress(packed))


def _element(found: Any) -> Element:
    binding = found.get("binding", {})
    limits = ("fixed", "pattern", "minValue", "maxValue", "maxLength")
    return Element(
        path=found["path"],
        min=found.get("min", 0),
        max=None if found["max"] == "*" else int(found["max"]),
        types=tuple(_element_type(t) for t in found.get("types", ())),
        content=found.get("content", ""),
        binding=binding.get("set", ""),
        strength=binding.get("strength", ""),
        constraints=_constraints(found),
        is_modifier=found.get("modifier", False),
        is_summary=found.get("summary", False),
        limits={key: value for key, value in found.items() if key.startswith(limits)},
    )


def _element_type(found: Any) -> ElementType:
    profiles = found.get("profiles", ("",))
    return ElementType(found["code"], tuple(found.get("targets", ())), profiles[0])


def _constraints(found: Any) -> tuple[Constraint, ...]:
    return tuple(Constraint(**constraint) for constraint in found.get("constraints", ()))
