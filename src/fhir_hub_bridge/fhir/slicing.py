"""How the values of an element are told apart: discriminators compiled to matchers.

A matcher asks whether what lies at the discriminator's path is what the slice says is there.
Before: `profile_elements`. After: `profile_compiler`.
https://hl7.org/fhir/R4/profiling.html#discriminator
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.definitions import Element, resource_types, type_names
from fhir_hub_bridge.fhir.packages import Library
from fhir_hub_bridge.fhir.profile_elements import (
    ProfiledElement,
    children_of,
    core_type,
    fixed_value,
    tree_of,
)
from fhir_hub_bridge.fhir.profile_overlay import Check, Judging, Matcher, Profile, conforms, judge
from fhir_hub_bridge.fhir.profile_tests import type_named
from fhir_hub_bridge.fhir.value_sets import codes_of

# Makes the check of an element of the profile, given what R4 says of it.
MakeCheck: TypeAlias = Callable[[ProfiledElement, Element | None], Check]


def url_of(node: ProfiledElement, library: Library) -> str:
    """The url by which an extension's slice is known, or ""."""
    own = fixed_value(node.children.get("url", ProfiledElement()).rules, "fixed")
    if own:
        return str(own)
    canonicals = [canonical for each in node.types for canonical in each.get("profile", ())]
    if len(canonicals) != 1:
        return ""
    tree = tree_of(canonicals[0], library)
    return tree.url if tree else str(canonicals[0]).partition("|")[0]


def matcher_of(
    discriminator: Json,
    node: ProfiledElement,
    base: Element | None,
    *,
    library: Library,
    make_check: MakeCheck,
) -> Matcher | None:
    """Compile one discriminator of a slice; None where the slice does not say enough."""
    kind, path = discriminator.get("type"), str(discriminator.get("path", "$this"))
    steps = [step for step in _STEP.findall(path) if step != "$this"]
    way = _way(node, base, [s for s in steps if s != "resolve()"], library)
    match kind:
        case "value" | "pattern":
            return _by_value(way, steps, library, make_check)
        case "type" if len(way) == len([s for s in steps if s != "resolve()"]) + 1:
            return _by_type(way[-1][0], steps)
        case "exists" if len(way) == len(steps) + 1:
            return _by_presence(way[-1][0], steps)
        case "profile":
            return _by_profile(way[-1][0], steps, library)
    return None


_STEP: Final = re.compile(r"extension\('[^']*'\)|ofType\([^)]*\)|resolve\(\)|\$this|[A-Za-z0-9]+")
_Way: TypeAlias = list[tuple[ProfiledElement, Element | None]]


def _way(node: ProfiledElement, base: Element | None, steps: Sequence[str], lib: Library) -> _Way:
    """The elements of the slice along a path, as far as it says anything of them."""
    way: _Way = [(node, base)]
    for step in steps:
        node, base = way[-1]
        found = _below(node, base, step, lib)
        if found is None:
            break
        way.append(found)
    return way


def _below(
    node: ProfiledElement, base: Element | None, step: str, library: Library
) -> tuple[ProfiledElement, Element | None] | None:
    if step.startswith("ofType("):
        return node, base
    codes = [str(each.get("code")) for each in node.types]
    kinds = codes or [each.name for each in base.types] if base else codes
    bases = children_of(base, kinds)
    if step.startswith("extension("):
        url = step[len("extension('") : -2]
        slices = node.children.get("extension", ProfiledElement()).slices.values()
        own = next((each for each in slices if url_of(each, library) == url), None)
        return (own, bases.get("extension")) if own else None
    for name in (step, f"{step}[x]"):
        if name in node.children:
            return node.children[name], bases.get(name)
    for canonical in (c for each in node.types for c in each.get("profile", ())):
        if tree := tree_of(canonical, library):
            return _below(tree.root, None, step, library) or _typed(tree.root, tree.type, step)
    return None


def _typed(
    root: ProfiledElement, kind: str, step: str
) -> tuple[ProfiledElement, Element | None] | None:
    bases = children_of(None, [kind])
    name = step if step in root.children else f"{step}[x]"
    return (root.children[name], bases.get(name)) if name in root.children else None


def _by_value(
    way: _Way, steps: Sequence[str], library: Library, make_check: MakeCheck
) -> Matcher | None:
    """The value there, or at the nearest element above that says something, is as it says."""
    for depth in range(len(way) - 1, -1, -1):
        node, base = way[depth]
        is_pinned = fixed_value(node.rules, "fixed") is not None or (
            fixed_value(node.rules, "pattern") is not None
        )
        if depth < len(steps) and not is_pinned:
            continue
        if _is_bound_unknown(node, library):
            return lambda _value, _kind, _judging: None
        if not is_pinned and not _says_something(node):
            continue
        check, way_there = make_check(node, base), steps[:depth]
        if not check.tests and not check.children:
            continue
        return _all_right(check, way_there)
    return None


def _all_right(check: Check, steps: Sequence[str]) -> Matcher:
    if len(steps) == 1 and steps[0].isalpha():
        return _right_below(check, steps[0])

    def matches(value: Any, kind: str, judging: Judging) -> bool | None:
        found = _at(value, kind, steps, judging)
        return any(_passes(check, each, of, judging) for each, of in found)

    return matches


def _right_below(check: Check, name: str) -> Matcher:
    """The same for the commonest path, one element that is no choice, without a detour."""
    test = check.tests[0] if len(check.tests) == 1 and not check.children else None

    def matches(value: Any, kind: str, judging: Judging) -> bool | None:
        child = value.get(name) if isinstance(value, dict) else None
        if child is None or isinstance(child, list):
            found = _at(value, kind, [name], judging)
            return any(_passes(check, each, of, judging) for each, of in found)
        if test is not None:
            return test(child, "", judging) is None
        return _passes(check, child, "", judging)

    return matches


def _passes(check: Check, value: Any, kind: str, judging: Judging) -> bool:
    if not check.children:
        for test in check.tests:  # noqa: SIM110 - all() costs as much again
            if test(value, kind, judging) is not None:
                return False
        return True
    found = judge(check, value, kind, judging)
    return not found or all(finding.fault.severity != "error" for finding in found)


def _says_something(node: ProfiledElement) -> bool:
    is_bound = node.rules.get("binding", {}).get("strength") == "required"
    return is_bound or any(
        fixed_value(child.rules, "fixed") is not None
        or fixed_value(child.rules, "pattern") is not None
        or _says_something(child)
        for child in (*node.children.values(), *node.slices.values())
    )


def _is_bound_unknown(node: ProfiledElement, library: Library) -> bool:
    binding = node.rules.get("binding", {})
    if binding.get("strength") != "required" or fixed_value(node.rules, "pattern") is not None:
        return False
    return codes_of(binding.get("valueSet", ""), library) is None


def _by_type(node: ProfiledElement, steps: Sequence[str]) -> Matcher | None:
    # A snapshot repeats all types of a choice; its slices by type tell which are meant.
    parts = [each for part in node.slices.values() for each in part.types]
    kinds = {str(each.get("code")) for each in parts or node.types}
    targets = {
        core_type(canonical)
        for each in node.types
        if steps[-1:] == ["resolve()"]
        for canonical in each.get("targetProfile", ())
    }
    if not kinds or "" in targets:
        return None
    wanted = targets or kinds
    if len(steps) == 1 and steps[0].isalpha() and not wanted & resource_types():
        names = {f"{steps[0]}{of[0].upper()}{of[1:]}" for of in wanted}
        return lambda value, _kind, _judging: not names.isdisjoint(value)

    def matches(value: Any, kind: str, judging: Judging) -> bool | None:
        found = _at(value, kind, steps, judging)
        if not found and steps[-1:] == ["resolve()"]:
            named = type_named(value)
            return None if named is None else named in wanted
        return any(of in wanted for _, of in found)

    return matches


def _by_presence(node: ProfiledElement, steps: Sequence[str]) -> Matcher | None:
    if node.min == 0 and node.max != 0:
        return None
    must_be_there = node.max != 0
    return lambda value, kind, judging: bool(_at(value, kind, steps, judging)) == must_be_there


def _by_profile(node: ProfiledElement, steps: Sequence[str], library: Library) -> Matcher | None:
    """The resource referred to, or there, keeps one of the slice's profiles."""
    is_reference = steps[-1:] == ["resolve()"]
    word = "targetProfile" if is_reference else "profile"
    canonicals = [canonical for each in node.types for canonical in each.get(word, ())]
    trees = [tree_of(canonical, library) for canonical in canonicals]
    types = {core_type(c) or (t.type if t else "") for c, t in zip(canonicals, trees, strict=True)}
    if not canonicals:
        return None

    def matches(value: Any, kind: str, judging: Judging) -> bool | None:
        before = _at(value, kind, steps[:-1] if is_reference else steps, judging)
        for each, of in before:
            resource = judging.resolved(each) if is_reference else each
            if resource is None:
                # It lies elsewhere: only of what type it is can be told.
                named = type_named(each)
                return False if named and "" not in types and named not in types else None
            of = str(resource.get("resourceType", of))  # noqa: PLW2901 - of the resource itself
            for canonical in canonicals:
                profile = judging.find(canonical)
                if core_type(canonical) == of or _keeps(profile, resource, of, judging):
                    return True
        return None if "" in types else False

    return matches


def _keeps(profile: Profile | None, value: Any, kind: str, judging: Judging) -> bool:
    if profile is None or profile.type != kind:
        return False
    return conforms(profile, value, kind, judging)


def _at(value: Any, kind: str, steps: Sequence[str], judging: Judging) -> list[tuple[Any, str]]:
    """The values at a discriminator's path, with their types where these can be told."""
    found = [(value, kind)]
    for step in steps:
        found = [below for each, of in found for below in _step(each, of, step, judging)]
    return found


def _step(value: Any, kind: str, step: str, judging: Judging) -> list[tuple[Any, str]]:
    if step == "resolve()":
        resource = judging.resolved(value)
        return [] if resource is None else [(resource, str(resource.get("resourceType")))]
    if step.startswith("ofType("):
        return [(value, kind)] if kind == step[len("ofType(") : -1] else []
    if not isinstance(value, dict):
        return []
    if step.startswith("extension("):
        url = step[len("extension('") : -2]
        extensions = value.get("extension", ())
        return [(each, "Extension") for each in extensions if each.get("url") == url]
    if step in value:
        return _typed_values(value[step])
    for key, child in value.items():
        if key.startswith(step) and (of := _type_of_suffix(key[len(step) :])):
            return [(child, of)]
    return []


def _typed_values(child: Any) -> list[tuple[Any, str]]:
    values = child if isinstance(child, list) else [child]
    return [
        (each, str(each.get("resourceType", "")) if isinstance(each, dict) else "")
        for each in values
    ]


def _type_of_suffix(suffix: str) -> str:
    """The type that a choice's name ends with: `string` of valueString."""
    for name in (suffix, f"{suffix[:1].lower()}{suffix[1:]}"):
        if suffix[:1].isupper() and name in type_names():
            return name
    return ""
