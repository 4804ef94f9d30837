"""Does a resource keep its profiles? Judged beyond base R4, which `validation` judges.

A profile is compiled at its first use and kept. Before: `packages`, `profile_compiler`. After:
`intake`, `$validate`. https://hl7.org/fhir/R4/profiling.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from fhir_hub_bridge.errors import Issue
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.findings import Fault, Finding, issue
from fhir_hub_bridge.fhir.packages import Library
from fhir_hub_bridge.fhir.profile_compiler import compiled_profile
from fhir_hub_bridge.fhir.profile_overlay import Judging, Profile, entries_of, judge_by
from fhir_hub_bridge.fhir.validation import MAX_ISSUES

MAX_PROFILES: Final = 20
"""By how many profiles a resource is judged at most; each is looked up and may be compiled."""


def declared(resource: Json) -> tuple[str, ...]:
    """The profiles that a resource names in meta.profile, each once."""
    meta = resource.get("meta")
    named = meta.get("profile") if isinstance(meta, dict) else None
    if not isinstance(named, list):
        return ()
    return tuple(dict.fromkeys(profile for profile in named if isinstance(profile, str)))


def profile_issues(resource: Json, *, profiles: Sequence[str], library: Library) -> list[Issue]:
    """List what keeps a resource that is valid R4 from profiles that are held; others are ignored.

    Errors only, at most 50, each at a FHIRPath expression. No message repeats the data. More than
    20 profiles are refused (rule `profile-count`).
    """
    if not profiles:
        return []
    if len(profiles) > MAX_PROFILES:
        return [_too_many(resource)]
    judging = _judging(resource, {}, library)
    found: list[Finding] = []
    for canonical in profiles:
        profile = compiled_profile(canonical, library)
        if profile is not None:
            found += _found(profile, resource, judging)
    return _issues(found, resource)[:MAX_ISSUES]


def judged_in_full(resource: Json, *, profiles: Sequence[str], library: Library) -> list[Issue]:
    """List errors, then warnings, then what could not be checked, once; at most 50.

    Of profiles that are not held, those that the resource names are told.

    The resources of a Bundle are judged by the profiles that they name; references among them are
    followed.
    """
    issues = _each_note_once(_in_full(resource, profiles, library, {}))
    return sorted(issues, key=lambda each: _ORDER.index(each.severity))[:MAX_ISSUES]


_ORDER: Final = ("fatal", "error", "warning", "information")


def _in_full(
    resource: Json, profiles: Sequence[str], library: Library, entries: Mapping[str, Json]
) -> list[Issue]:
    if len(profiles) > MAX_PROFILES:
        return [_too_many(resource)]
    is_bundle = resource.get("resourceType") == "Bundle"
    judging = _judging(
        resource, entries_of(resource) if is_bundle else entries, library, is_full=True
    )
    found: list[Finding] = []
    named = declared(resource)
    for canonical in profiles:
        profile = compiled_profile(canonical, library)
        if profile is not None:
            found += _found(profile, resource, judging)
        elif canonical in named:
            at = resource["meta"]["profile"].index(canonical)
            found.append(Finding(_NOT_HELD, [at, "profile", "meta"]))
    issues = _issues(found, resource)
    if is_bundle:
        issues += _issues_in_entries(resource, library, judging.entries)
    return issues


def _too_many(resource: Json) -> Issue:
    message = f"A resource is judged by at most {MAX_PROFILES} profiles."
    place = f"{resource.get('resourceType')}.meta.profile"
    return Issue(place, message, code="too-costly", rule="profile-count")


# A canonical that the resource names is its data, so the place alone tells which.
_NOT_HELD: Final = Fault(
    "profile-unknown",
    "Not checked: the profile that is named here, which is not held.",
    "informational",
    "information",
)


def _judging(
    resource: Json, entries: Mapping[str, Json], library: Library, *, is_full: bool = False
) -> Judging:
    return Judging(resource, entries, lambda c: compiled_profile(c, library), is_full)


def _found(profile: Profile, resource: Json, judging: Judging) -> list[Finding]:
    kind = str(resource.get("resourceType"))
    if profile.type not in (kind, "Resource", "DomainResource"):
        message = f"The profile {profile.name} is of {profile.type}."
        return [Finding(Fault("profile-type", message), [])]
    return judge_by(profile, resource, kind, judging) or []


def _issues(found: Iterable[Finding], resource: Json) -> list[Issue]:
    kind = str(resource.get("resourceType"))
    return [*dict.fromkeys(issue(finding, kind) for finding in found)]


def _issues_in_entries(
    bundle: Json, library: Library, entries: Mapping[str, Json]
) -> Iterator[Issue]:
    for index, entry in enumerate(bundle.get("entry", ())):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict):
            continue
        place = f"Bundle.entry[{index}].resource"
        kind = str(resource.get("resourceType"))
        for each in _in_full(resource, declared(resource), library, entries):
            yield replace(each, place=place + each.place[len(kind) :])


def _each_note_once(issues: Iterable[Issue]) -> Iterator[Issue]:
    seen: set[str] = set()
    for each in issues:
        if each.rule != "not-checked" or each.message not in seen:
            seen.add(each.message)
            yield each
