"""A compiled profile asked about a resource: what base R4 allows and the profile does not.

A check is to a profile what a plan is to a type in `inspection_plans`. Before: `profile_compiler`.
After: `profiles`. https://hl7.org/fhir/R4/profiling.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.elements import contained
from fhir_hub_bridge.fhir.findings import Fault, Finding, Step


@dataclass(slots=True, eq=False)
class Judging:
    """One resource under judgement: what is around it, and how a profile is found.

    `entries` are those of the Bundle that it is in, by `entries_of`. `is_full` asks for warnings
    too, and for what could not be checked.
    """

    resource: Json
    entries: Mapping[str, Json]
    find: Callable[[str], Profile | None]
    is_full: bool = False
    under_way: set[tuple[int, str]] = field(default_factory=set)

    def within(self, resource: Json) -> Judging:
        """The same for a resource inside this one, or beside it in a Bundle."""
        is_bundle = resource.get("resourceType") == "Bundle" and resource is not self.resource
        entries = entries_of(resource) if is_bundle else self.entries
        return Judging(resource, entries, self.find, self.is_full, self.under_way)

    def resolved(self, reference: Any) -> Json | None:
        """The resource that a Reference means, if it is contained or in the same Bundle."""
        text = reference.get("reference") if isinstance(reference, dict) else None
        if not isinstance(text, str):
            return None
        return contained(self.resource, text[1:]) if text[:1] == "#" else self.entries.get(text)


def entries_of(bundle: Json) -> Mapping[str, Json]:
    """The resources of a Bundle by fullUrl, and by the Type/id that it ends with."""
    found: dict[str, Json] = {}
    for entry in bundle.get("entry", ()):
        url, resource = entry.get("fullUrl", ""), entry.get("resource")
        if url and isinstance(resource, dict):
            found.setdefault(url, resource)
            found.setdefault("/".join(url.rsplit("/", 2)[-2:]), resource)
    return found


# A question about a value of a type; its answer is what is wrong.
Test: TypeAlias = Callable[[Any, str, Judging], Fault | None]
# Whether a value belongs to a slice; None where nobody can tell.
Matcher: TypeAlias = Callable[[Any, str, Judging], bool | None]


@dataclass(slots=True, eq=False)
class Check:
    """What a profile asks of a value.

    `advice` is asked only in full. `profiles` are those of data types, any one of which will do,
    by type.
    """

    tests: tuple[Test, ...] = ()
    advice: tuple[Test, ...] = ()
    profiles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    children: tuple[Child, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it asks nothing."""
        return not (self.tests or self.advice or self.profiles or self.children)


@dataclass(slots=True, eq=False)
class Child:
    """What a profile asks of an element: how often, of which type, each value, its slices.

    `types` are the JSON names that R4 gives it, with their types; `allowed` are those types that
    the profile leaves, None for all.
    """

    name: str
    is_choice: bool
    types: Mapping[str, str]
    missing: tuple[int, Fault] | None = None
    too_many: tuple[int, Fault] | None = None
    allowed: frozenset[str] | None = None
    wrong_type: Fault | None = None
    check: Check | None = None
    slicing: Slicing | None = None
    is_simple: bool = False  # whether nothing is asked of one lone value but its check
    is_optional: bool = False  # whether nothing is asked where there is none
    beside: str = ""  # what is said about a primitive's value

    def settle(self) -> None:
        """Settle what is asked so often that it is not to be worked out each time."""
        is_counted = self.missing is not None and self.missing[0] > 1
        is_limited = self.too_many is not None and self.too_many[0] == 0
        is_told_apart = self.is_choice or self.slicing is not None or self.wrong_type is not None
        self.is_simple = not (is_counted or is_limited or is_told_apart)
        needed = self.slicing is not None and any(each.least for each in self.slicing.slices)
        self.is_optional = not (self.is_choice or self.missing is not None or needed)
        self.beside = f"_{self.name}"


@dataclass(slots=True, eq=False)
class Slice:
    """Some of an element's values: which they are, how many there may be, what each must be."""

    matchers: tuple[Matcher, ...]
    least: int
    most: int | None
    too_few: Fault
    too_many: Fault
    check: Check | None = None


@dataclass(slots=True, eq=False)
class Slicing:
    """How an element's values are told apart. `stray` is the fault of a value of no slice.

    `by_url` finds the number of an extension's slice at once, where its url is what tells it.
    """

    slices: tuple[Slice, ...]
    stray: Fault | None = None
    stray_before: Fault | None = None  # where strays must come last
    out_of_order: Fault | None = None
    by_url: Mapping[str, int] | None = None


@dataclass(slots=True, eq=False)
class Profile:
    """A compiled profile: of which type, with which check; what of it cannot be judged."""

    url: str
    name: str
    type: str
    check: Check
    not_checked: tuple[Fault, ...] = ()


Found: TypeAlias = list[Finding] | None


def judge(  # noqa: PLR0912 - one loop, unrolled for the sake of speed
    check: Check, value: Any, kind: str, judging: Judging
) -> Found:
    """Find what is wrong with a value of a type; nothing is built where nothing is."""
    found: Found = None
    for test in check.tests:
        if (fault := test(value, kind, judging)) is not None:
            found = [*(found or ()), Finding(fault, [])]
    if judging.is_full:
        for test in check.advice:
            if (fault := test(value, kind, judging)) is not None:
                found = [*(found or ()), Finding(fault, [])]
    if (
        check.profiles
        and (wanted := check.profiles.get(kind))
        and (below := _by_profiles(wanted, value, kind, judging))
    ):
        found = [*(found or ()), *below]
    if check.children and isinstance(value, dict):
        for child in check.children:
            # Most elements by far, settled here for the sake of speed.
            lone = value.get(child.name)
            if lone is None and child.is_optional and child.beside not in value:
                continue
            if child.is_simple and type(lone) in _LONE:
                if child.check is None:
                    continue
                below = judge(child.check, lone, child.types[child.name], judging)
                if below is not None:
                    for finding in below:
                        finding.steps.append(child.name)
                    found = [*(found or ()), *below]
            elif (below := _judge_child(child, value, judging)) is not None:
                found = [*(found or ()), *below]
    return found


_LONE: Final = (dict, str)


def judge_by(profile: Profile, value: Any, kind: str, judging: Judging) -> Found:
    """Judge a value by a profile of its type; one that is being judged by it already is well."""
    key = (id(value), profile.url)
    if key in judging.under_way:
        return None
    judging.under_way.add(key)
    try:
        if isinstance(value, dict) and "resourceType" in value:
            judging = judging.within(value)
        found = judge(profile.check, value, kind, judging)
    finally:
        judging.under_way.discard(key)
    if judging.is_full and profile.not_checked:
        found = [*(found or ()), *(Finding(fault, []) for fault in profile.not_checked)]
    return found


def conforms(profile: Profile, value: Any, kind: str, judging: Judging) -> bool:
    """Whether a value satisfies a profile."""
    found = judge_by(profile, value, kind, judging)
    return not found or all(finding.fault.severity != "error" for finding in found)


def _by_profiles(canonicals: Sequence[str], value: Any, kind: str, judging: Judging) -> Found:
    """Judge by the profiles of a data type or contained resource: one of them must be kept."""
    held = [profile for each in canonicals if (profile := judging.find(each)) is not None]
    if len(held) < len(canonicals):
        if not judging.is_full:
            return None
        missing = next(each for each in canonicals if judging.find(each) is None)
        return [Finding(not_checked(f"the profile {missing}, which is not held"), [])]
    if any(conforms(profile, value, kind, judging) for profile in held[1:]):
        return None
    return judge_by(held[0], value, kind, judging)


def not_checked(what: str) -> Fault:
    """That something could not be checked: no fault of the resource."""
    return Fault("not-checked", f"Not checked: {what}.", "informational", "information")


def _judge_child(child: Child, parent: Json, judging: Judging) -> Found:
    values = [*_values(child, parent)] if child.is_choice else _plain_values(child, parent)
    if not values and child.slicing is None and child.missing is None:
        return None
    found: list[Finding] = []
    if child.missing is not None and len(values) < child.missing[0]:
        found.append(Finding(child.missing[1], [child.name]))
    if child.too_many is not None and len(values) > child.too_many[0]:
        found.append(Finding(child.too_many[1], [child.name]))
    for steps, value, kind in values:
        if child.wrong_type and child.allowed and kind not in child.allowed:
            found.append(Finding(child.wrong_type, [*steps, child.name]))
        elif child.check is not None:
            for finding in judge(child.check, value, kind, judging) or ():
                finding.steps.extend((*steps, child.name))
                found.append(finding)
    if child.slicing is not None:
        for finding in _judge_slices(child.slicing, values, judging):
            finding.steps.append(child.name)
            found.append(finding)
    return found or None


_Value: TypeAlias = tuple[tuple[Step, ...], Any, str]  # steps below the element, value, type


def _plain_values(child: Child, parent: Json) -> list[_Value]:
    """The values of an element by its one name; of a primitive without one, what is beside it."""
    name = child.name
    value = parent.get(name)
    kind = child.types.get(name, "")
    if isinstance(value, list):
        beside = parent.get(f"_{name}", ())
        return [
            ((i,), _given(v, beside[i] if i < len(beside) else None), _kind(v, kind))
            for i, v in enumerate(value)
        ]
    if value is None:
        value = parent.get(f"_{name}")
        if value is None or isinstance(value, list):
            return [((i,), v, kind) for i, v in enumerate(value or ())]
    return [((), value, _kind(value, kind))]


def _given(value: Any, beside: Any) -> Any:
    return beside if value is None else value


def _kind(value: Any, kind: str) -> str:
    """Its type; that of a resource is told by itself."""
    if kind in ("Resource", "DomainResource") and isinstance(value, dict):
        return str(value.get("resourceType", kind))
    return kind


def _values(child: Child, parent: Json) -> Iterator[_Value]:
    for key, value in parent.items():
        name = key[1:] if key[0] == "_" and key[1:] not in parent else key
        if (kind := child.types.get(name)) is not None:
            yield (), value, kind


def _judge_slices(
    slicing: Slicing, values: Sequence[_Value], judging: Judging
) -> Iterator[Finding]:
    sure = [0] * len(slicing.slices)
    perhaps = [0] * len(slicing.slices)
    last, stray_seen = 0, False
    for steps, value, kind in values:
        own = _slice_of(slicing, value, kind, judging, perhaps)
        if own == _NONE:
            if slicing.stray is not None:
                yield Finding(slicing.stray, [*steps])
            stray_seen = True
            continue
        if own == _PERHAPS:
            continue
        sure[own] += 1
        if slicing.stray_before is not None and stray_seen:
            yield Finding(slicing.stray_before, [*steps])
        if slicing.out_of_order is not None:
            if own < last:
                yield Finding(slicing.out_of_order, [*steps])
            last = max(last, own)
        if (check := slicing.slices[own].check) is not None:
            for finding in judge(check, value, kind, judging) or ():
                finding.steps.extend(steps)
                yield finding
    for each, surely, maybe in zip(slicing.slices, sure, perhaps, strict=True):
        if each.least and surely + maybe < each.least:
            yield Finding(each.too_few, [])
        if each.most is not None and surely > each.most:
            yield Finding(each.too_many, [])


_NONE: Final = -1
_PERHAPS: Final = -2


def _slice_of(slicing: Slicing, value: Any, kind: str, judging: Judging, perhaps: list[int]) -> int:
    """The number of the slice that a value belongs to, or that there is none, or maybe one."""
    if slicing.by_url is not None:
        return slicing.by_url.get(value.get("url", ""), _NONE) if type(value) is dict else _NONE
    found = _NONE
    for number, each in enumerate(slicing.slices):
        is_sure = True
        for matches in each.matchers:
            answer = matches(value, kind, judging)
            if answer is False:
                break
            is_sure = is_sure and answer is not None
        else:
            if is_sure:
                return number
            perhaps[number] += 1
            found = _PERHAPS
    return found
