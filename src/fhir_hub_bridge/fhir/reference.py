"""References between resources: relative, absolute, versioned, by urn, contained.

A transaction's own names are rewritten here. After: `bundle`, `search`.
https://hl7.org/fhir/R4/references.html#literal
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from fhir_hub_bridge.fhir.codec import Json


@dataclass(frozen=True, slots=True)
class Reference:
    """A literal reference taken apart.

    `base` is None for one relative to the server, a URL without its last slash for an absolute
    one, `urn:uuid` or `urn:oid` for a Bundle's own names, `#` for a contained resource; the last
    two have no type.
    """

    base: str | None
    type: str
    id: str
    version: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether it names a resource of the server that holds it."""
        return self.base is None

    def __str__(self) -> str:
        if self.base == "#":
            return f"#{self.id}"
        if self.base in _URN_BASES:
            return f"{self.base}:{self.id}"
        path = f"{self.type}/{self.id}"
        if self.version is not None:
            path += f"/_history/{self.version}"
        return path if self.base is None else f"{self.base}/{path}"


def parse_reference(text: str) -> Reference | None:
    """Take a `Reference.reference` apart; None for what is no literal reference (`Patient?...`)."""
    if text.startswith("#"):
        return Reference("#", "", text[1:])
    for base in _URN_BASES:
        if text.startswith(f"{base}:"):
            return Reference(base, "", text[len(base) + 1 :])
    match = _LITERAL.fullmatch(text)
    if match is None:
        return None
    base_url, kind, resource_id, version = match.groups()
    return Reference(base_url.rstrip("/") if base_url else None, kind, resource_id, version)


def local(reference: Reference, bases: Collection[str]) -> Reference:
    """Strip our own base: an absolute reference to us is a relative one."""
    own = {base.rstrip("/") for base in bases}
    return replace(reference, base=None) if reference.base in own else reference


def rewrite_references(resource: Json, mapping: Mapping[str, str]) -> Json:
    """Replace a Bundle's own names (`urn:uuid:...`) by what `mapping` gives; the input stays.

    Every `reference` is looked up; other strings only if they are a urn that the mapping knows, and
    `Identifier.value` and `id` never, as FHIR leaves these alone. Narrative links are rewritten.
    """
    rewritten: Json = _rewrite(resource, "", mapping)
    return rewritten


def with_own_relative(resource: Json, *, bases: Collection[str], but: Collection[str]) -> Json:
    """Write absolute references to our own `bases` as relative ones, `but` those; the input stays.

    All that is no `Reference.reference` stays as it is.
    """
    found = ((text, parse_reference(text)) for text in references_in(resource) if text not in but)
    own = {text: str(local(parsed, bases)) for text, parsed in found if parsed and parsed.base}
    own = {text: here for text, here in own.items() if text != here}
    return rewrite_references(resource, own) if own else resource


def unresolved(resource: Json, known: Collection[str]) -> tuple[str, ...]:
    """List the `urn:` references that no entry of the Bundle answers to, each once, in order."""
    return tuple(
        dict.fromkeys(
            text
            for text in references_in(resource)
            if text.startswith(("urn:uuid:", "urn:oid:")) and text not in known
        )
    )


def references_in(value: Any) -> Iterator[str]:
    """Every `reference` text in a resource or a part of one, in order."""
    if isinstance(value, Mapping):
        text = value.get("reference")
        if isinstance(text, str):
            yield text
        for child in value.values():
            yield from references_in(child)
    elif isinstance(value, list):
        for child in value:
            yield from references_in(child)


CONDITIONAL: Final = re.compile(r"([A-Z][A-Za-z]{1,63})\?(.+)")
"""A reference by search (`Patient?identifier=...`): its type and its query."""


def local_references(resource: Json) -> tuple[str, ...]:
    """List the relative references in it, `Type/id`, each once, in order."""
    found = ((text, parse_reference(text)) for text in references_in(resource))
    return tuple(dict.fromkeys(text for text, parsed in found if parsed and parsed.is_local))


def without_contained(resource: Json) -> Json:
    """Drop the references to contained resources, for what is carried on without `contained`.

    What a Reference says besides (display, identifier) stays; one that says nothing more goes.
    """
    kept: Json = _without_contained(resource)
    return kept


_URN_BASES: Final = ("urn:uuid", "urn:oid")
# `.` and `..` match FHIR's id but not a URL's path segment, so they name nothing.
_LITERAL: Final = re.compile(
    r"(https?://[A-Za-z0-9.:\[\]_~%/-]+/)?([A-Z][A-Za-z]{1,63})/((?!\.\.?(?:/|$))[A-Za-z0-9.-]{1,64})"
    r"(?:/_history/([A-Za-z0-9.-]{1,64}))?"
)
_LINK: Final = re.compile(r"(?<=[\"'])urn:(?:uuid|oid):[^\"'<>\s]+(?=[\"'])")
# Identifier.value is a string even where it holds a urn; `id` is never a link.
_NEVER_LINKS: Final = frozenset({"value", "id"})


def _rewrite(value: Any, key: str, mapping: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _rewrite(child, name, mapping) for name, child in value.items()}
    if isinstance(value, list):
        return [_rewrite(child, key, mapping) for child in value]
    if not isinstance(value, str):
        return value
    if key == "reference" or (value.startswith("urn:") and key not in _NEVER_LINKS):
        return mapping.get(value, value)
    if key == "div" and "urn:" in value:
        return _LINK.sub(lambda link: mapping.get(link[0], link[0]), value)
    return value


def _without_contained(value: Any) -> Any:
    """The same, or None where nothing is left."""
    if isinstance(value, list):
        return [kept for item in value if (kept := _without_contained(item)) is not None] or None
    if not isinstance(value, dict):
        return value
    kept = {
        name: less
        for name, child in value.items()
        if not (name == "reference" and isinstance(child, str) and child.startswith("#"))
        and (less := _without_contained(child)) is not None
    }
    is_hollow = len(kept) < len(value) and kept.keys() <= {"id", "type", "url"}
    return None if is_hollow else kept
