"""What can go wrong, named by what should happen next.

BridgeError
├── Rejected                 their input: keep it, tell them
│   ├── ResourceRejected     a FHIR body or request; carries its issues
│   ├── RuleBroken           a change that the program's rules do not allow
│   ├── ConditionFailed      a condition that does not name one resource
│   └── UnmappedCode         a code that no table knows; never a default
├── Conflict                 the truth has moved on
│   ├── VersionConflict      If-Match names an older version
│   └── AlreadyAnswered      the same request was answered before
├── Unknown                  nothing is stored under that id
│   └── Gone                 it was deleted
├── StoreBusy                nothing stored; try later
├── OutcomeUnknown           stored whole or not at all, nobody knows: ask again with the same id
├── PartnerTrouble           a partner did not do what was asked
└── Misconfigured            refuse to start
    ├── BadMapping           a file of mappings/ is wrong
    └── BadSetting           a setting or a command's option is wrong

The docstring of a class is its message when none is given. Errors know no HTTP and no exit codes:
the edges translate them, in `api/` and `cli`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["fatal", "error", "warning", "information"]


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing wrong with an input: where it is, which rule it breaks, in words for its sender.

    `place` is a FHIRPath expression, or `row N, column C`. `code` is a FHIR IssueType code
    (http://hl7.org/fhir/R4/valueset-issue-type.html). `rule` is our own name for the rule.
    `value` is the offending text; it goes back to the sender only, never into a log. What is not
    of severity `error` keeps nothing from being taken.
    """

    place: str
    message: str
    code: str = "invalid"
    rule: str = ""
    value: str = ""
    severity: Severity = "error"


class BridgeError(Exception):
    """Something went wrong."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class Rejected(BridgeError):
    """The input cannot be taken."""

    def __init__(self, message: str = "", issues: Sequence[Issue] = ()) -> None:
        super().__init__(message or "; ".join(i.message for i in issues))
        self.issues = tuple(issues)


class ResourceRejected(Rejected):
    """The resource cannot be taken."""


class RuleBroken(Rejected):
    """The program's rules do not allow this change."""

    def __init__(self, rule: str, message: str, *, place: str = "") -> None:
        super().__init__(message, [Issue(place, message, code="business-rule", rule=rule)])
        self.rule = rule


class ConditionFailed(Rejected):
    """The condition does not name one resource."""


class UnmappedCode(Rejected):
    """No table knows this code."""


class Conflict(BridgeError):
    """What is stored has moved on since the caller looked."""


class VersionConflict(Conflict):
    """The version named is not the current one."""


class AlreadyAnswered(Conflict):
    """This request was answered before."""


class Unknown(BridgeError):
    """Nothing is stored under that id."""


class Gone(Unknown):
    """What was stored under that id has been deleted."""


class StoreBusy(BridgeError):
    """The store is busy; nothing was stored."""


class OutcomeUnknown(BridgeError):
    """The connection was lost while committing: it is stored whole, or not at all."""


class PartnerTrouble(BridgeError):
    """A partner did not do what was asked."""


class Misconfigured(BridgeError):
    """The bridge is not set up rightly."""


class BadMapping(Misconfigured):
    """A file of the mappings folder is wrong."""


class BadSetting(Misconfigured):
    """A setting is wrong."""
