"""A profile's elements compiled to checks: only what it adds to base R4, which is judged anyway.

Before: `profile_elements`, `slicing`, `profile_tests`. After: `profiles`.
https://hl7.org/fhir/R4/profiling.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.definitions import Element, ElementType, structure, type_names
from fhir_hub_bridge.fhir.fhirpath import invariant
from fhir_hub_bridge.fhir.findings import Fault
from fhir_hub_bridge.fhir.packages import Definition, Library
from fhir_hub_bridge.fhir.profile_elements import (
    CORE,
    ProfiledElement,
    children_of,
    core_type,
    fixed_value,
    tree_of,
)
from fhir_hub_bridge.fhir.profile_overlay import (
    Check,
    Child,
    Profile,
    Slice,
    Slicing,
    Test,
    not_checked,
)
from fhir_hub_bridge.fhir.profile_tests import (
    a_fault,
    always,
    has_pattern,
    holds,
    is_bound,
    is_fixed,
    is_no_longer,
    is_told,
    refers_to,
)
from fhir_hub_bridge.fhir.slicing import matcher_of, url_of
from fhir_hub_bridge.fhir.value_sets import codes_of


def compiled_profile(canonical: str, library: Library) -> Profile | None:
    """Compile a profile at its first use, a few ms; None if it is not held or not of R4's types.

    One that is malformed asks nothing, and says so.
    """
    held = library.resolve(canonical)
    return _compiled(held, library) if held else None


# By what is held: a client may spell the name of one profile in as many ways as it likes.
@lru_cache(maxsize=512)
def _compiled(held: Definition, library: Library) -> Profile | None:
    try:
        tree = tree_of(f"{held.url}|{held.version}", library)
        if tree is None:
            return None
        check = _Compiler(tree.name, library).root_check(tree.root, tree.type)
    except _MALFORMED:
        what = not_checked(f"the profile {held.url}, which is malformed")
        return Profile(held.url, held.url, "Resource", Check(), (what,))
    left = tuple(not_checked(what) for what in tree.not_checked)
    return Profile(tree.url, tree.name, tree.type, check, left)


_MALFORMED: Final = (AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class _Compiler:
    """What every step of compiling one profile needs: the profile's name and what is held."""

    profile: str
    library: Library

    def root_check(self, root: ProfiledElement, kind: str) -> Check:
        """The check of a whole resource, extension or data type."""
        return Check(
            tests=tuple(self._invariants(root, _keys_of(kind), "error")),
            advice=tuple(self._invariants(root, _keys_of(kind), "warning")),
            children=tuple(self._children(root, children_of(None, [kind]))),
        )

    def check(self, node: ProfiledElement, base: Element | None) -> Check:
        """The check of one value of an element, or of a slice of it."""
        kinds = _kinds(node, base)
        tests: list[Test] = [*self._value_tests(node, base)]
        advice: list[Test] = []
        of_r4 = frozenset().union(*map(_keys_of, kinds), _own_keys(base))
        tests += self._invariants(node, of_r4, "error")
        advice += self._invariants(node, of_r4, "warning")
        for is_advice, test in self._bindings(node, base):
            (advice if is_advice else tests).append(test)
        for is_advice, test in self._targets(node, base):
            (advice if is_advice else tests).append(test)
        return Check(
            tests=tuple(tests),
            advice=tuple(advice),
            profiles=dict(_type_profiles(node)),
            children=tuple(self._children(node, children_of(base, kinds))),
        )

    def identity(self, node: ProfiledElement, base: Element | None) -> Check:
        """What makes a value one of a slice, by what the slice fixes of it; nothing else."""
        pinned = tuple(self._value_tests(node, base))
        bound = [test for is_advice, test in self._bindings(node, base) if not is_advice]
        bases = children_of(base, _kinds(node, base))
        children = []
        for name, part in ({} if pinned else _with_choices(node, bases)).items():
            below = self.identity(part, bases[name]) if name in bases else Check()
            if not below.is_empty:
                children.append(self._child_of(bases[name], check=below, is_needed=True))
        return Check(tests=(*pinned, *(() if pinned else bound)), children=tuple(children))

    # --- an element's children

    def _children(self, node: ProfiledElement, bases: Mapping[str, Element]) -> Iterator[Child]:
        for name, child in _with_choices(node, bases).items():
            if (base := bases.get(name)) is not None:
                found = self._child(child, base)
                if found is not None:
                    yield found

    def _child(self, node: ProfiledElement, base: Element) -> Child | None:
        check = self.check(node, base)
        found = self._child_of(base, check=check, is_needed=node.min > base.min, least=node.min)
        found.slicing = self._slicing(node, base)
        most = node.max
        if most is not None and (base.max is None or most < base.max):
            message = f"There may be {most} of this element at most." if most else _FORBIDDEN
            found.too_many = most, self._fault("profile-cardinality", message)
        allowed = _allowed(node, base)
        if allowed is not None:
            message = f"The type must be one of {', '.join(sorted(allowed))}."
            found.allowed = allowed
            found.wrong_type = self._fault("profile-type", message, code="value")
        if check.is_empty and not (
            found.missing or found.too_many or found.wrong_type or found.slicing
        ):
            return None
        found.settle()
        return found

    def _child_of(self, base: Element, *, check: Check, is_needed: bool, least: int = 1) -> Child:
        message = f"The element is required{_times(least)}."
        missing = self._fault("profile-cardinality", message, code="required")
        return Child(
            name=base.name,
            is_choice=base.is_choice,
            types={base.json_name(t): t.code for t in base.types or (ElementType(""),)},
            missing=(least, missing) if is_needed else None,
            check=None if check.is_empty else check,
        )

    # --- slices

    def _slicing(self, node: ProfiledElement, base: Element) -> Slicing | None:
        said = node.rules.get("slicing", {})
        rules = said.get("rules", "open")
        if not node.slices and rules != "closed":
            return None
        by = said.get("discriminator") or _usual_discriminators(base)
        slices = {n: self._slice(n, part, base, by) for n, part in node.slices.items()}
        urls = None
        if [(d.get("type"), d.get("path")) for d in by] == [("value", "url")]:
            found = {url_of(node.slices[n], self.library): i for i, n in enumerate(slices)}
            urls = None if "" in found else found
        if rules == "open" and not said.get("ordered"):
            # Of such a slice nothing is asked, so nobody needs to know what belongs to it.
            slices = {n: s for n, s in slices.items() if s.check or s.least or s.most is not None}
            if not slices:
                return None
        stray = "No slice of the profile takes this value, and others are not allowed."
        order = "The values are not in the order of the profile's slices."
        return Slicing(
            slices=tuple(slices.values()),
            stray=self._fault("profile-slice", stray) if rules == "closed" else None,
            stray_before=self._fault("profile-slice", order) if rules == "openAtEnd" else None,
            out_of_order=self._fault("profile-slice", order) if said.get("ordered") else None,
            by_url=urls,
        )

    def _slice(
        self, name: str, node: ProfiledElement, base: Element, discriminators: list[Json]
    ) -> Slice:
        matchers = [
            matcher_of(each, node, base, library=self.library, make_check=self.identity)
            for each in discriminators
        ]
        check = self.check(node, base)
        if None in matchers or not matchers:
            # Whatever may or may not be of the slice is left in peace.
            matchers = [_nobody_knows]
        few = f"The slice {name} is required{_times(node.min)}."
        many = f"There may be {node.max} of the slice {name} at most."
        return Slice(
            matchers=tuple(matcher for matcher in matchers if matcher is not None),
            least=node.min,
            most=node.max,
            too_few=self._fault("profile-slice", few, code="required"),
            too_many=self._fault("profile-slice", many),
            check=None if check.is_empty else check,
        )

    # --- one value

    def _value_tests(self, node: ProfiledElement, base: Element | None) -> Iterator[Test]:
        fixed, pattern = (fixed_value(node.rules, word) for word in ("fixed", "pattern"))
        if fixed is not None:
            said = f"The value must be {fixed}." if isinstance(fixed, str) else _FIXED
            yield is_fixed(fixed, self._fault("profile-fixed", said, code="value"))
        if pattern is not None:
            said = f"The value must be {pattern}." if isinstance(pattern, str) else _PATTERN
            yield has_pattern(pattern, self._fault("profile-pattern", said, code="value"))
        most = node.rules.get("maxLength")
        if isinstance(most, int) and (base is None or base.limits.get("maxLength") != most):
            message = f"The text may have {most} characters at most."
            yield is_no_longer(most, self._fault("profile-length", message, code="value"))

    def _invariants(self, node: ProfiledElement, of_r4: Set[str], severity: str) -> Iterator[Test]:
        """Its invariants of a severity, but for those of R4 itself; with warnings, the unasked."""
        seen = set()
        for constraint in node.rules.get("constraint", ()):
            key, expression = constraint["key"], constraint.get("expression")
            if (key, expression) in seen or _is_of_r4(constraint, of_r4):
                continue
            seen.add((key, expression))
            compiled = invariant(expression) if expression else None
            if compiled is None or compiled.truth is None:
                if severity == "warning":
                    why = compiled.not_checked if compiled else "it has no expression"
                    yield always(not_checked(f"the invariant {key} ({why})"))
            elif constraint.get("severity", "error") == severity:
                level: Any = "error" if severity == "error" else "warning"
                message = str(constraint.get("human", key))
                yield holds(compiled, a_fault(key, message, of=self.profile, severity=level))

    def _bindings(self, node: ProfiledElement, base: Element | None) -> Iterator[tuple[bool, Test]]:
        binding = node.rules.get("binding", {})
        value_set, strength = binding.get("valueSet"), binding.get("strength")
        if not value_set or strength not in ("required", "extensible"):
            return
        if (
            base is not None
            and strength == base.strength == "required"
            and (value_set.partition("|")[0] == base.binding.partition("|")[0])
        ):
            return
        codes = codes_of(value_set, self.library)
        if codes is None:
            yield True, always(not_checked(f"the codes of {value_set}, which is not held whole"))
            return
        is_required = strength == "required"
        message = f"The code is not of the value set {value_set}"
        if is_required:
            message += ", from which it must be taken."
        else:
            message += "; another is right only where none of it fits."
        fault = self._fault("profile-binding", message, code="code-invalid")
        if not is_required:
            fault = Fault(fault.rule, fault.message, fault.code, "warning")
        yield not is_required, is_bound(codes, fault)
        if not codes.is_whole:
            yield True, is_told(codes, value_set)

    def _targets(self, node: ProfiledElement, base: Element | None) -> Iterator[tuple[bool, Test]]:
        named = [t for t in node.types if t.get("code") == "Reference"]
        canonicals = [c for each in named for c in each.get("targetProfile", ())]
        if not canonicals or any(not each.get("targetProfile") for each in named):
            return
        types = {name for c in canonicals if (name := core_type(c))}
        if "Resource" in types or "DomainResource" in types or types == _base_targets(base):
            return
        profiles = []
        for canonical in (c for c in canonicals if not core_type(c)):
            tree = tree_of(canonical, self.library)
            if tree is None:
                what = f"whether it refers to a {canonical}, which is not held"
                yield True, always(not_checked(what))
                return
            profiles.append((tree.type, canonical))
        names = sorted({*types, *(c.rpartition("/")[2] for c in canonicals)})
        message = f"The reference may only name: {', '.join(names)}."
        fault = self._fault("profile-target", message, code="value")
        yield False, refers_to(frozenset(types), profiles, fault)

    def _fault(self, rule: str, message: str, *, code: str = "invariant") -> Fault:
        return a_fault(rule, message, of=self.profile, code=code)


_FORBIDDEN: Final = "The element may not be there."
_FIXED: Final = "The value must be the one that the profile fixes."
_PATTERN: Final = "The value must have what the profile's pattern has."


def _nobody_knows(_value: Any, _kind: str, _judging: Any) -> None:
    return None


def _times(least: int) -> str:
    return f", {least} times at least" if least > 1 else ""


def _usual_discriminators(base: Element) -> list[Json]:
    if base.is_choice:
        return [{"type": "type", "path": "$this"}]
    is_extension = base.types and base.types[0].code == "Extension"
    return [{"type": "value", "path": "url"}] if is_extension else []


def _kinds(node: ProfiledElement, base: Element | None) -> list[str]:
    """The types that an element may have, by its profile or else by R4."""
    said = [str(t.get("code")) for t in node.types]
    known = [t.name for t in base.types] if base else []
    return known if not said or said[0].startswith("http") else said


def _allowed(node: ProfiledElement, base: Element) -> frozenset[str] | None:
    """The types that the profile leaves of those that R4 has; None for all."""
    said = frozenset(str(t.get("code")) for t in node.types)
    known = frozenset(t.code for t in base.types)
    if not said or said >= known or any(code.startswith("http") for code in said):
        return None
    return None if said & {"Resource", "DomainResource"} else said


def _type_profiles(node: ProfiledElement) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The profiles of data types that the profile names and R4 does not."""
    for each in node.types:
        profiles = tuple(each.get("profile", ()))
        if profiles and not any(core_type(canonical) for canonical in profiles):
            yield str(each["code"]), profiles


def _base_targets(base: Element | None) -> set[str]:
    return {target for t in base.types for target in t.targets} if base else set()


def _is_of_r4(constraint: Json, of_r4: Set[str]) -> bool:
    """Whether R4 itself says it, so that it is judged already; by its source, else by its key."""
    source = str(constraint.get("source", ""))
    if source:
        return source.startswith(CORE) and bool(core_type(source.partition("#")[0]))
    # R4 gives dom-6 as advice only, so the definitions leave it out.
    return constraint["key"] in of_r4 or constraint["key"] == "dom-6"


def _own_keys(base: Element | None) -> frozenset[str]:
    return frozenset(c.key for c in base.constraints) if base else frozenset()


@lru_cache(maxsize=256)
def _keys_of(kind: str) -> frozenset[str]:
    """The keys of R4's invariants of a type, those of the types that it is built on included."""
    if kind not in type_names():
        return frozenset()
    own = structure(kind)
    return frozenset(c.key for c in own.constraints) | _keys_of(own.base)


def _with_choices(
    node: ProfiledElement, bases: Mapping[str, Element]
) -> Mapping[str, ProfiledElement]:
    """The children, `valueQuantity` written as a slice of `value[x]`."""
    found = dict(node.children)
    for name in [name for name in node.children if name not in bases]:
        for path, base in bases.items():
            kinds = {base.json_name(t): t.code for t in base.types} if base.is_choice else {}
            if name in kinds:
                part = found.pop(name)
                part.rules.setdefault("type", [{"code": kinds[name]}])
                found.setdefault(path, ProfiledElement()).slices.setdefault(name, part)
    return found
