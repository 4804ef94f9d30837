"""A resource judged as `$validate` does: base R4 first, then profiles, in full.

Before: `validation`, `profiles`. After: the command `validate` and the operation `$validate`.
https://hl7.org/fhir/R4/resource-operation-validate.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fhir_hub_bridge.errors import Issue
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.definitions import resource_types
from fhir_hub_bridge.fhir.packages import Library
from fhir_hub_bridge.fhir.profiles import MAX_PROFILES, declared, judged_in_full
from fhir_hub_bridge.fhir.validation import MAX_ISSUES, issues_of

_R4_FIRST: Final = Issue(
    "",
    "Not checked: profiles, which are judged once the resource is valid R4.",
    code="informational",
    rule="not-checked",
    severity="information",
)


_R4: Final = "http://hl7.org/fhir/StructureDefinition/"
_EVERY_TYPE: Final = ("Resource", "DomainResource")


def validated(resource: Json, *, profiles: Sequence[str] = (), library: Library) -> list[Issue]:
    """List everything that can be said of a resource of any R4 type: errors, warnings, notes.

    It is judged by `profiles` and by those that it names, together no more than 20. What could not
    be checked is a note. At most 50 issues.
    """
    if found := issues_of(resource, types=resource_types()):
        return [*found[: MAX_ISSUES - 1], _R4_FIRST]
    kind = str(resource["resourceType"])
    asked = [profile for profile in profiles if _base_type(profile) is None]
    others = {base for p in profiles if (base := _base_type(p))} - {kind, *_EVERY_TYPE}
    wanted = dict.fromkeys((*asked, *declared(resource)))
    unknown: dict[str, None] = {}
    if len(wanted) <= MAX_PROFILES:  # of more, what is told is that there are too many
        unknown = dict.fromkeys(p for p in asked if library.resolve(p) is None)
    held = [profile for profile in wanted if profile not in unknown]
    judged = judged_in_full(resource, profiles=held, library=library)
    wrong = [_other_type(kind, base) for base in sorted(others)]
    return [*wrong, *map(_unknown, unknown), *judged][:MAX_ISSUES]


def _base_type(profile: str) -> str | None:
    """The type whose official definition a canonical names, judged by already; None for others."""
    url, _, version = profile.partition("|")
    name = url.removeprefix(_R4)
    known = url.startswith(_R4) and (name in resource_types() or name in _EVERY_TYPE)
    return name if known and version in ("", "4.0.1", "4.0") else None


def _other_type(kind: str, base: str) -> Issue:
    return Issue(kind, f"It is no {base}.", code="structure", rule="profile-type")


def _unknown(profile: str) -> Issue:
    # The caller named it: nothing is hidden, and it must not be taken for met.
    message = f"The profile {profile} is not held, so it could not be judged by it."
    return Issue("", message, code="not-found", rule="profile-unknown")


def is_valid(issues: Sequence[Issue]) -> bool:
    """Whether none of the issues is an error."""
    return all(issue.severity not in ("error", "fatal") for issue in issues)
