"""The search parameters of each type, and how a resource answers to them.

One registry serves the query's reader, the store's index and the capability statement.
After: `search`. https://hl7.org/fhir/R4/searchparameter-registry.html
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.reference import local, parse_reference
from fhir_hub_bridge.fhir.validation import SUPPORTED_TYPES

Kind: TypeAlias = Literal["token", "reference", "date", "string", "uri"]
# (system, code) of a token; ("", text) of anything else.
Pair: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A search parameter of one type; `definition` is the SearchParameter's canonical URL.

    `targets` are the types that a bare id may name; `modifiers` those that we can answer;
    `system` is the code system that goes without saying.
    """

    name: str
    kind: Kind
    expression: str
    definition: str
    extract: Callable[[Json], tuple[Pair, ...]]
    targets: tuple[str, ...] = ()
    modifiers: frozenset[str] = frozenset()
    system: str = ""


@dataclass(frozen=True, slots=True)
class IndexValues:
    """What the store keeps beside a resource to find it by: (parameter, system, code), columns."""

    tokens: tuple[tuple[str, str, str], ...] = ()
    status: str | None = None
    owner: str | None = None
    requester: str | None = None
    patient: str | None = None


def index_values(resource: Json, *, bases: Collection[str] = ()) -> IndexValues:
    """Extract what the store indexes; references to our own `bases` become local ones."""
    parameters = PARAMETERS.get(resource.get("resourceType", ""), {})
    tokens = tuple(
        (name, *pair)
        for name in ("identifier", "_profile")
        if name in parameters
        for pair in dict.fromkeys(parameters[name].extract(resource))
    )
    columns: dict[str, str] = {}
    for name in ("status", "owner", "requester", "patient"):
        if name in parameters and (found := parameters[name].extract(resource)):
            text = found[0][1]
            is_reference = parameters[name].kind == "reference"
            columns[name] = comparable(text, bases) if is_reference else text
    return IndexValues(tokens, **columns)


def comparable(text: str, bases: Collection[str]) -> str:
    """Write a reference as it is compared: local where it is ours, without its version."""
    reference = parse_reference(text)
    if reference is None or not reference.type:
        return text
    own = local(reference, bases)
    path = f"{own.type}/{own.id}"
    return path if own.base is None else f"{own.base}/{path}"


_CORE: Final = "http://hl7.org/fhir/SearchParameter"
_MISSING: Final = frozenset({"missing"})
_REQUESTERS: Final = (
    "Organization",
    "PractitionerRole",
    "Practitioner",
    "Patient",
    "RelatedPerson",
    "Device",
)
_OWNERS: Final = (*_REQUESTERS, "CareTeam", "HealthcareService")


def _of_element(name: str) -> Callable[[Json], tuple[Pair, ...]]:
    def extract(resource: Json) -> tuple[Pair, ...]:
        value = resource.get(name)
        return (("", value),) if isinstance(value, str) else ()

    return extract


def _of_reference(name: str) -> Callable[[Json], tuple[Pair, ...]]:
    def extract(resource: Json) -> tuple[Pair, ...]:
        value = resource.get(name)
        text = value.get("reference") if isinstance(value, dict) else None
        return (("", text),) if isinstance(text, str) else ()

    return extract


def _of_identifier(resource: Json) -> tuple[Pair, ...]:
    found = resource.get("identifier") or []
    # Bundle has one identifier, all other types a list.
    entries = found if isinstance(found, list) else [found]
    return tuple(
        (entry.get("system", ""), entry["value"]) for entry in entries if entry.get("value")
    )


def _of_meta(resource: Json) -> tuple[Pair, ...]:
    updated = resource.get("meta", {}).get("lastUpdated")
    return (("", updated),) if updated else ()


def _of_profile(resource: Json) -> tuple[Pair, ...]:
    # With and without |version must match each other: partners pin different ones.
    return tuple(("", url.split("|", 1)[0]) for url in resource.get("meta", {}).get("profile", ()))


def _everywhere(kind: str) -> tuple[Parameter, ...]:
    both = (
        Parameter("_id", "token", f"{kind}.id", f"{_CORE}/Resource-id", _of_element("id")),
        Parameter(
            "_lastUpdated",
            "date",
            f"{kind}.meta.lastUpdated",
            f"{_CORE}/Resource-lastUpdated",
            _of_meta,
        ),
    )
    if kind in ("AuditEvent", "Provenance"):  # the types here that have no identifier
        return both
    owner = "clinical" if kind in ("ServiceRequest", "Consent") else kind
    definition = f"{_CORE}/{owner}-identifier"
    return (
        *both,
        Parameter("identifier", "token", f"{kind}.identifier", definition, _of_identifier),
    )


def _profile(kind: str) -> Parameter:
    return Parameter(
        "_profile", "uri", f"{kind}.meta.profile", f"{_CORE}/Resource-profile", _of_profile
    )


def _status(kind: str, system: str) -> Parameter:
    return Parameter(
        "status",
        "token",
        f"{kind}.status",
        f"{_CORE}/{kind}-status",
        _of_element("status"),
        modifiers=frozenset({"missing", "not"}),
        system=system,
    )


def _reference(
    kind: str, name: str, element: str, targets: tuple[str, ...], definition: str = ""
) -> Parameter:
    of_patients = ".where(resolve() is Patient)" if name == "patient" else ""
    return Parameter(
        name,
        "reference",
        f"{kind}.{element}{of_patients}",
        definition or f"{_CORE}/{kind}-{name}",
        _of_reference(element),
        targets,
        _MISSING,
    )


_TASK: Final = (
    *_everywhere("Task"),
    _profile("Task"),
    _status("Task", canonical.TASK_STATUS),
    _reference("Task", "owner", "owner", _OWNERS),
    _reference("Task", "requester", "requester", _REQUESTERS),
    _reference("Task", "patient", "for", ("Patient",)),
    _reference("Task", "subject", "for", ("Patient",)),
)
_SERVICE_REQUEST: Final = (
    *_everywhere("ServiceRequest"),
    _profile("ServiceRequest"),
    _status("ServiceRequest", canonical.REQUEST_STATUS),
    _reference("ServiceRequest", "requester", "requester", _REQUESTERS),
    _reference("ServiceRequest", "patient", "subject", ("Patient",), f"{_CORE}/clinical-patient"),
    _reference("ServiceRequest", "subject", "subject", ("Patient",)),
)

PARAMETERS: Final[Mapping[str, Mapping[str, Parameter]]] = MappingProxyType(
    {
        kind: MappingProxyType({parameter.name: parameter for parameter in parameters})
        for kind, parameters in {
            **{kind: _everywhere(kind) for kind in sorted(SUPPORTED_TYPES)},
            "ServiceRequest": _SERVICE_REQUEST,
            "Task": _TASK,
        }.items()
    }
)
