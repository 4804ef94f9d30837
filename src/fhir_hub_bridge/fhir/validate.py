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


def validated(resource: Json, *, profiles: Sequence[str] = (), library: Library) -> list[Issue]:
    """List everything that can be said of a resource of any R4 type: errors, warnings, notes.

    It is judged by `profiles` and by those that it names, together no more than 20. What could not
    be checked is a note. At most 50 issues.
    """
    if found := issues_of(resource, types=resource_types()):
        return [*found[: MAX_ISSUES - 1], _R4_FIRST]
    wanted = dict.fromkeys((*profiles, *declared(resource)))
    unknown: dict[str, None] = {}
    if len(wanted) <= MAX_PROFILES:  # of more, what is told is that there are too many
        unknown = dict.fromkeys(p for p in profiles if library.resolve(p) is None)
    held = [profile for profile in wanted if profile not in unknown]
    judged = judged_in_full(resource, profiles=held, library=library)
    return [*map(_unknown, unknown), *judged][:MAX_ISSUES]


def _unknown(profile: str) -> Issue:
    # The caller named it, so that there is nothing to hide.
    message = f"The profile {profile} is not held, so it was not judged by it."
    return Issue("", message, code="not-found", rule="profile-unknown", severity="warning")


def is_valid(issues: Sequence[Issue]) -> bool:
    """Whether none of the issues is an error."""
    return all(issue.severity not in ("error", "fatal") for issue in issues)
