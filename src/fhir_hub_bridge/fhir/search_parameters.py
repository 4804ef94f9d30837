"""The search parameters of each type, as HL7 and SDOH Clinical Care define them.

One registry serves the query's reader, the store's index and the capability statement: a parameter
is served if its expression can be followed to elements that its kind can be about.
Before: `search_paths`. After: `search_index`, `search`.
https://hl7.org/fhir/R4/searchparameter-registry.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, cast

from fhir_hub_bridge.fhir import canonical, definitions
from fhir_hub_bridge.fhir.definitions import SearchParameter
from fhir_hub_bridge.fhir.search_conversions import CONVERSIONS
from fhir_hub_bridge.fhir.search_paths import Path, compile_expression, root
from fhir_hub_bridge.fhir.search_values import Column, Kind, Modifier
from fhir_hub_bridge.fhir.validation import SUPPORTED_TYPES


@dataclass(frozen=True, slots=True)
class Parameter:
    """A search parameter of one type; `definition` is the SearchParameter's canonical URL.

    `targets` are the types that a reference may name; `system` is the code system that goes
    without saying; `column` the one that keeps the value in place of the index; `components` are
    a composite's ways on from where `paths` end.
    """

    name: str
    kind: Kind
    expression: str
    definition: str
    paths: tuple[Path, ...]
    targets: tuple[str, ...] = ()
    system: str = ""
    column: Column = ""
    components: tuple[tuple[Path, ...], ...] = ()

    @property
    def modifiers(self) -> tuple[Modifier, ...]:
        """The modifiers that can be answered, the type of a reference's target apart."""
        return () if self.name in ALWAYS_THERE else _MODIFIERS[self.kind]

    @property
    def is_canonical(self) -> bool:
        """Whether it is a reference by canonical URL, rather than to a resource of some server."""
        return self.kind == "reference" and all(path.type != "Reference" for path in self.paths)


# Kept with the resource itself.
ALWAYS_THERE: Final = ("_id", "_lastUpdated")
_MODIFIERS: Final[Mapping[Kind, tuple[Modifier, ...]]] = {
    "token": ("missing", "not"),
    "reference": ("missing", "identifier"),
    "date": ("missing",),
    "string": ("missing", "exact", "contains"),
    "uri": ("missing",),
    "composite": ("missing",),
}
_COLUMNS: Final[Mapping[str, tuple[Column, ...]]] = {
    "Task": ("status", "owner", "requester"),
    "ServiceRequest": ("status", "requester"),
}
_SEARCHED: Final = tuple(sorted(SUPPORTED_TYPES - {"Bundle"}))


def _guide_parameter(kind: str, code: str, name: str, expression: str) -> SearchParameter:
    url = f"{canonical.SDOHCC}/SearchParameter/{kind}-{name}"
    return SearchParameter(url, code, (kind,), "reference", expression, (), ())


# SDOH Clinical Care's own.
_OF_THE_GUIDE: Final = (
    _guide_parameter("Task", "output", "output-reference", "Task.output.value.ofType(Reference)"),
    _guide_parameter(
        "ServiceRequest", "supporting-info", "supporting-info", "ServiceRequest.supportingInfo"
    ),
)


class _Registry(Mapping[str, Mapping[str, Parameter]]):
    """Each type is compiled at the first question about it: few processes ask about all."""

    def __getitem__(self, kind: str) -> Mapping[str, Parameter]:
        if kind not in _SEARCHED:
            raise KeyError(kind)
        return _parameters(kind)

    def __iter__(self) -> Iterator[str]:
        return iter(_SEARCHED)

    def __len__(self) -> int:
        return len(_SEARCHED)


PARAMETERS: Final[Mapping[str, Mapping[str, Parameter]]] = _Registry()


@cache
def _parameters(kind: str) -> Mapping[str, Parameter]:
    official = definitions.search_parameters(kind)
    own = {found.code: found for found in _OF_THE_GUIDE if kind in found.base}
    kinds = {found.url: found.type for found in official.values()}
    parameters = {}
    for name, found in sorted({**official, **own}.items()):
        try:
            if found.type == "composite":
                parameters[name] = _composite(kind, found, kinds)
            elif found.type in CONVERSIONS:
                parameters[name] = _simple(kind, found)
        except KeyError:
            # Said in words that `search_paths` does not speak: not served, and so not announced.
            continue
    return parameters


def _simple(kind: str, found: SearchParameter) -> Parameter:
    paths = _paths(found.expression, root(kind), cast(Kind, found.type))
    name = found.code
    # Only what has one value fits a column: an AuditEvent may be about several patients.
    in_column = name in _COLUMNS.get(kind, ()) or (
        name == "patient" and len(paths) == 1 and paths[0].is_single
    )
    return Parameter(
        name,
        cast(Kind, found.type),
        found.expression,
        found.url,
        paths,
        targets=_targets(paths),
        system=_system(paths),
        column=cast(Column, name) if in_column else "",
    )


def _composite(kind: str, found: SearchParameter, kinds: Mapping[str, str]) -> Parameter:
    """A composite of tokens; KeyError for one of anything else."""
    starts = compile_expression(found.expression, root(kind))
    components: list[tuple[Path, ...]] = []
    for definition, expression in found.components:
        if kinds.get(definition) != "token":
            raise KeyError(definition)
        # Where there are several starts, an Observation and its components, both are built alike.
        components.append(_paths(expression, _from_there(starts[0]), "token"))
    return Parameter(
        found.code, "composite", found.expression, found.url, starts, components=tuple(components)
    )


def _from_there(start: Path) -> Path:
    return Path(start.type, start.structure, start.within)


def _paths(expression: str, start: Path, kind: Kind) -> tuple[Path, ...]:
    paths = tuple(
        path for path in compile_expression(expression, start) if path.type in CONVERSIONS[kind]
    )
    if not paths:
        raise KeyError(expression)
    return paths


def _targets(paths: tuple[Path, ...]) -> tuple[str, ...]:
    named = [path for path in paths if path.type == "Reference"]
    if any(not path.targets for path in named):
        return _SEARCHED
    return tuple(dict.fromkeys(target for path in named for target in path.targets))


def _system(paths: tuple[Path, ...]) -> str:
    systems = {
        system
        for path in paths
        for system in (definitions.codes_of(path.binding) or ("",) if path.binding else ("",))
    }
    return systems.pop() if len(systems) == 1 and paths[0].type == "code" else ""
