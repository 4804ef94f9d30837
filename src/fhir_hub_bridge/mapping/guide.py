"""Our implementation guide, as far as it follows from the data: codes, sets, maps, systems.

Its profiles and extensions are written by hand in `profiles/`; these here are generated beside
them. Before: `guide_rows`. Beside: `guide_maps`. After: `profiles/generate.py`, which writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.mapping.catalog import Catalog
from fhir_hub_bridge.mapping.guide_maps import concept_maps
from fhir_hub_bridge.mapping.guide_rows import (
    Concept,
    Value,
    own_concepts,
)

PUBLISHER = "FHIR Hub Bridge project"


def guide_resources(
    catalog: Catalog, concepts: Mapping[str, Sequence[Concept]], *, version: str
) -> list[Json]:
    """CodeSystems, a ValueSet for each, ConceptMaps and NamingSystems.

    `concepts` are the rows of `guide_rows.read_concepts`; `version` is `year.month.number`.
    """
    known = {**concepts, **own_concepts(catalog.rulebook.suppressions)}
    resources: list[Json] = []
    for system, (title, description) in _SYSTEMS.items():
        resources.append(_code_system(system, title, description, known[system]))
        resources.append(_value_set(system, title))
    resources += concept_maps(catalog.rulebook, catalog.layouts.values())
    stamped = [_stamped(resource, version) for resource in resources]
    return [*stamped, *(_naming_system(url, version) for url in _IDENTIFIERS)]


def value_set_of(system: str) -> str:
    """The URL of the ValueSet that holds all of one of our CodeSystems."""
    return system.replace("/CodeSystem/", "/ValueSet/")


_CITED = "Each concept names its source and how firm it is (verified, secondary, inferred, "
_CITED += "unverified, project-default); only what is marked verified was read in the source."

_SYSTEMS = {
    canonical.REFERRAL_STATUS: (
        "CLR Referral Status",
        "Where a referral stands with its provider (DHCS data element Referral Status).",
    ),
    canonical.CLOSURE_REASON: (
        "CLR Closure Reason",
        "Why a referral loop was closed (DHCS data element Reason for Referral Loop Closure).",
    ),
    canonical.AUTHORIZATION_STATUS: (
        "CLR Authorization Status",
        "How the plan has decided on the authorization of a referral.",
    ),
    canonical.AUTHORIZATION_BASIS: (
        "CLR Authorization Basis",
        "On what an authorization rests, and whether a service may start before the decision.",
    ),
    canonical.NOTICE_TYPE: ("CLR Notice Type", "What a referring entity is told."),
    canonical.OUTPUT_TYPE: ("CLR Output Type", "Outputs of the plan's Task."),
    canonical.SERVICE: (
        "CLR Service",
        "Services one can be referred to, with the billing codes that mean them.",
    ),
    canonical.REFERRAL_SOURCE: ("CLR Referral Source", "What kind of party made a referral."),
    canonical.POPULATION_OF_FOCUS: (
        "CLR Population of Focus",
        "Populations of focus of Enhanced Care Management.",
    ),
    canonical.TAG: ("CLR Tag", "Marks on a version of a resource that the bridge wrote."),
    canonical.RULE: (
        "Bridge Rule",
        "Rules of the program that an OperationOutcome names, or by which a notice is not owed. "
        "Rules of the FHIR format that it names as well are not listed.",
    ),
}
_FRAGMENTS = (canonical.RULE,)

_IDENTIFIERS = {
    canonical.MEDI_CAL_CIN: (
        "Medi-Cal Client Index Number",
        "The nine characters by which Medi-Cal knows a person. A project default: no published "
        "system for it was found; a plan may use its own.",
    ),
    canonical.CLR_ID: (
        "CLR Id",
        "The id that all requests and Tasks of one referral share.",
    ),
    canonical.REFERRAL_ID: (
        "Bridge Referral Id",
        "The bridge's own id of a request or a Task.",
    ),
    canonical.PATIENT_ID: (
        "Bridge Patient Id",
        "The bridge's own id of a person's record, in the copies that go to providers.",
    ),
    canonical.NOTICE_ID: ("Bridge Notice Id", "The bridge's id of a notice to a referring entity."),
}

_PROPERTIES = {
    "source": "Where the concept is from.",
    "confidence": "How firm that is: verified, secondary, inferred, unverified, project-default.",
    "served": "Whether the member received the service.",
    "provider-closes-loop": "Whether a provider's closing closes the loop, or its own part only.",
    "requester-closes-loop": "Whether a loop closes with it when its referral is taken back.",
    "text-required": "Whether an explanation in words is needed.",
    "task-status": "The Task.status that says it.",
    "valid-from": "First day of use.",
    "decided": "Whether it is a decision that the referring entity is told of.",
    "authorizes": "Whether the service may be given.",
    "reason-required": "Whether a reason is needed.",
    "closes-with": "The closure reason that this decision closes the loop with.",
    "starts-before-decision": "Whether a service may start before the plan's decision.",
    "program": "Enhanced Care Management, Community Supports or another.",
    "clr-from": "First referral date with closed-loop duties; absent: there are none.",
    "clr-to": "Last referral date with closed-loop duties.",
    "sdoh-category": "The domain of SDOH Clinical Care.",
    "billing-code": "A HCPCS code and its modifiers.",
    "external": "Whether the party is outside the plan and is told what became of the referral.",
    "number": "The number the program gives it.",
}


def _code_system(url: str, title: str, description: str, concepts: Sequence[Concept]) -> Json:
    firsts = {name: value for concept in concepts for name, value in _cited(concept)}
    return {
        "resourceType": "CodeSystem",
        "id": _id(url),
        "url": url,
        "title": title,
        "description": f"{description} {_CITED}",
        "caseSensitive": True,
        "valueSet": value_set_of(url),
        "content": "fragment" if url in _FRAGMENTS else "complete",
        "count": len(concepts),
        "property": [
            {"code": name, "description": text, "type": _type(firsts[name])}
            for name, text in _PROPERTIES.items()
            if name in firsts
        ],
        "concept": [_defined(concept) for concept in concepts],
    }


def _value_set(system: str, title: str) -> Json:
    return {
        "resourceType": "ValueSet",
        "id": _id(system),
        "url": value_set_of(system),
        "title": title,
        "description": f"All codes of the code system {title}.",
        "compose": {"include": [{"system": system}]},
    }


def _naming_system(url: str, version: str) -> Json:
    title, description = _IDENTIFIERS[url]
    return {
        "resourceType": "NamingSystem",
        "id": url.rsplit("/", 1)[1] if "/NamingSystem/" in url else f"{_id(url)}-id",
        "name": _name(title),
        "status": "draft",
        "kind": "identifier",
        "date": _month(version),
        "publisher": PUBLISHER,
        "description": description,
        "uniqueId": [{"type": "uri", "value": url, "preferred": True}],
    }


def _defined(concept: Concept) -> Json:
    defined = {"definition": concept.definition} if concept.definition else {}
    return {
        "code": concept.code,
        "display": concept.label,
        **defined,
        "property": [
            {"code": name, f"value{_type(value)[0].upper()}{_type(value)[1:]}": _written(value)}
            for name, value in _cited(concept)
        ],
    }


def _cited(concept: Concept) -> tuple[tuple[str, Value], ...]:
    """Its properties, source and confidence before all others."""
    citation = concept.citation
    return (
        ("source", citation.source),
        ("confidence", citation.confidence),
        *concept.properties,
    )


def _type(value: Value) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "dateTime" if isinstance(value, date) else "string"


def _written(value: Value) -> str | bool:
    return value.isoformat() if isinstance(value, date) else value


def _stamped(resource: Json, version: str) -> Json:
    """With what all canonical resources of the guide have in common, in the usual order."""
    first = ("resourceType", "id", "url")
    head = {key: resource[key] for key in first}
    rest = {key: value for key, value in resource.items() if key not in (*first, "title")}
    return {
        **head,
        "version": version,
        "name": _name(resource["title"]),
        "title": resource["title"],
        "status": "draft",
        "experimental": False,
        "date": _month(version),
        "publisher": PUBLISHER,
        **rest,
    }


def _id(url: str) -> str:
    return url.rsplit("/", 1)[1]


def _name(title: str) -> str:
    """A name for programs: the title's words run together."""
    words = "".join(letter if letter.isalnum() else " " for letter in title).split()
    return "".join(word[0].upper() + word[1:] for word in words)


def _month(version: str) -> str:
    """The month a version is of: versions are `year.month.number`."""
    year, month, *_ = version.split(".")
    return f"{year}-{month:0>2}"
