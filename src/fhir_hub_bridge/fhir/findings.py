"""What is wrong with a resource, before its place is written out.

A finding is made where it is found and told each step on the way up, so that a resource without
any costs nothing. After: `schema_findings`, `inspection`, `validation`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from fhir_hub_bridge.errors import Issue, Severity

Step: TypeAlias = str | int


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong: the rule's name, a sentence without any of the data, an IssueType code.

    `severity` is not `error` for advice, and for what could not be judged.
    """

    rule: str
    message: str
    code: str = "invalid"
    severity: Severity = "error"


@dataclass(slots=True)
class Finding:
    """A fault and the way to it, innermost step first, in FHIRPath's element names."""

    fault: Fault
    steps: list[Step]


def above(findings: Iterable[Finding], *steps: Step) -> list[Finding]:
    """Lift findings by steps, given from the inner to the outer one."""
    lifted = [*findings]
    for finding in lifted:
        finding.steps.extend(steps)
    return lifted


def issue(finding: Finding, kind: str) -> Issue:
    """Write a finding about a resource of a type as an issue at a FHIRPath expression."""
    place = kind
    for step in reversed(finding.steps):
        if isinstance(step, int):
            place += f"[{step}]"
        else:
            # A name that can be no element's is not repeated: it may hold anything.
            place += f".{step}" if _ELEMENT.fullmatch(step) else ".?"
    fault = finding.fault
    return Issue(place, fault.message, code=fault.code, rule=fault.rule, severity=fault.severity)


_ELEMENT: Final = re.compile(r"_?[A-Za-z][A-Za-z0-9]{0,63}")
