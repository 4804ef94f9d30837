"""The questions that a profile asks of one value: fixed, pattern, codes, targets, invariants.

Each is made once, for one element, and asked as a function. Before: `value_sets`, `fhirpath`.
After: `profile_compiler`. https://hl7.org/fhir/R4/elementdefinition.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from fhir_hub_bridge.errors import Severity
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.definitions import resource_types
from fhir_hub_bridge.fhir.fhirpath import Invariant
from fhir_hub_bridge.fhir.findings import Fault
from fhir_hub_bridge.fhir.profile_overlay import Judging, Profile, Test, conforms, not_checked
from fhir_hub_bridge.fhir.value_sets import CodeSet


def is_fixed(wanted: Any, fault: Fault) -> Test:
    """The value is this one, nothing more and nothing less."""
    return lambda value, _kind, _judging: None if value == wanted else fault


def has_pattern(wanted: Any, fault: Fault) -> Test:
    """The value has at least what the pattern has."""
    matches = pattern_of(wanted)
    return lambda value, _kind, _judging: None if matches(value) else fault


def is_no_longer(most: int, fault: Fault) -> Test:
    """A text has no more characters than that."""
    return lambda value, _kind, _judging: (
        fault if isinstance(value, str) and len(value) > most else None
    )


def is_bound(codes: CodeSet, fault: Fault) -> Test:
    """A code, a Coding, or one coding of a concept is of the value set, as far as can be told."""
    listed = frozenset().union(*(known or () for known in codes.codes.values()))

    def test(value: Any, _kind: str, _judging: Judging) -> Fault | None:
        if type(value) is str and value in listed:
            return None
        answers = [codes.has(system, code) for system, code in _codes(value)]
        if True in answers or None in answers:
            return None
        # An extension alone may say why there is no code: what is missing is no wrong one.
        return None if not answers and isinstance(value, dict) and "extension" in value else fault

    return test


def is_told(codes: CodeSet, value_set: str) -> Test:
    """Say where only the code's system could be judged."""
    note = not_checked(f"whether the code is of {value_set}, since its code system is not held")

    def test(value: Any, _kind: str, _judging: Judging) -> Fault | None:
        answers = [codes.has(system, code) for system, code in _codes(value)]
        return note if None in answers and True not in answers else None

    return test


def pattern_of(wanted: Any) -> Callable[[Any], bool]:
    """Compile a pattern: a value's each element is as the pattern's, and of a list some member."""
    if isinstance(wanted, dict) and all(isinstance(part, str) for part in wanted.values()):
        texts = tuple(wanted.items())

        def has_texts(value: Any) -> bool:
            if not isinstance(value, dict):
                return False
            for key, text in texts:  # noqa: SIM110 - all() costs as much again
                if value.get(key) != text:
                    return False
            return True

        return has_texts
    if isinstance(wanted, dict):
        parts = tuple((key, pattern_of(part)) for key, part in wanted.items())

        def has_parts(value: Any) -> bool:
            if not isinstance(value, dict):
                return False
            for key, matches in parts:  # noqa: SIM110 - all() costs as much again
                if key not in value or not matches(value[key]):
                    return False
            return True

        return has_parts
    if isinstance(wanted, list):
        members = tuple(map(pattern_of, wanted))

        def has_members(value: Any) -> bool:
            return isinstance(value, list) and all(any(map(m, value)) for m in members)

        return _has_member(members[0]) if len(members) == 1 else has_members
    return lambda value: bool(value == wanted)


def _has_member(matches: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def has_one(value: Any) -> bool:
        if isinstance(value, list):
            for each in value:
                if matches(each):
                    return True
        return False

    return has_one


def always(fault: Fault) -> Test:
    """Say this of every value."""
    return lambda _value, _kind, _judging: fault


def holds(invariant: Invariant, fault: Fault) -> Test:
    """An invariant is so."""

    def test(value: Any, kind: str, judging: Judging) -> Fault | None:
        return None if invariant.holds(value, kind=kind, resource=judging.resource) else fault

    return test


def refers_to(types: frozenset[str], profiles: Sequence[tuple[str, str]], fault: Fault) -> Test:
    """A Reference names a resource of one of some types, or one that keeps one of some profiles.

    `profiles` are (type, canonical); they are asked where the resource lies at hand.
    """
    named_types = types | {kind for kind, _ in profiles}

    def test(value: Any, kind: str, judging: Judging) -> Fault | None:
        if kind != "Reference" or not isinstance(value, dict):
            return None
        # The commonest way to write it, settled here for the sake of speed.
        text = value.get("reference", "")
        if not judging.entries and text.partition("/")[0] in named_types:
            return None
        named = _type_named(value)
        if named is not None and named not in named_types:
            return fault
        resource = judging.resolved(value) if profiles or named is None else None
        if resource is None:
            return None
        of = str(resource.get("resourceType"))
        if of in types:
            return None
        wanted = [canonical for of_type, canonical in profiles if of_type == of]
        held = [profile for each in wanted if (profile := judging.find(each))]
        if not wanted or (len(held) == len(wanted) and not _keeps_one(held, resource, judging)):
            return fault
        return None

    return test


def _keeps_one(profiles: Sequence[Profile], resource: Json, judging: Judging) -> bool:
    return any(
        conforms(profile, resource, profile.type, judging.within(resource)) for profile in profiles
    )


_LITERAL: Final = re.compile(r"(?:.*/)?([A-Z][A-Za-z]+)/[A-Za-z0-9.-]{1,64}(?:/_history/[^/]+)?")


def _type_named(reference: Json) -> str | None:
    """The type that a Reference says it means, in its `type` or its URL."""
    match = _LITERAL.fullmatch(str(reference.get("reference", "")))
    if match is not None and match[1] in resource_types():
        return match[1]
    named = reference.get("type")
    return named if isinstance(named, str) and named in resource_types() else None


def type_named(reference: Any) -> str | None:
    """The type that a Reference says it means; None if it does not, or is none."""
    return _type_named(reference) if isinstance(reference, dict) else None


def _codes(value: Any) -> Iterator[tuple[str | None, Any]]:
    """The codes of a code, a Coding, a Quantity or a CodeableConcept, with their systems."""
    if isinstance(value, str):
        yield None, value
    elif isinstance(value, dict):
        codings = value.get("coding", [value] if "code" in value or "system" in value else ())
        for coding in codings:
            yield coding.get("system", ""), coding.get("code")


def a_fault(
    rule: str, message: str, *, of: str, code: str = "invariant", severity: Severity = "error"
) -> Fault:
    """A fault against a profile, which is named by its computer name."""
    return Fault(rule, f"{message} (profile {of})", code, severity)
