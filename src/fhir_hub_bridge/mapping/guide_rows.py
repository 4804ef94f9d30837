"""The concepts of our guide: every code we publish, with its source and how firm it is.

Those of the program are rows of `mappings/`, read here with all their columns; the few that are
code and not data stand below with a citation of their own. After: `guide`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from fhir_hub_bridge.errors import BadMapping
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.mapping.codings import NOTICE_LABELS, OUTPUT_LABELS, STATUS_LABELS
from fhir_hub_bridge.mapping.data_files import MappingFolder, TableRow
from fhir_hub_bridge.mapping.rulebook_files import read_service_codes
from fhir_hub_bridge.referral.model import NoticeType, ReferralStatus
from fhir_hub_bridge.referral.rulebook import Citation, Suppression

Value = str | bool | date


@dataclass(frozen=True, slots=True)
class Concept:
    """A code of one of our CodeSystems. `properties` are its row's other columns, in order."""

    code: str
    label: str
    citation: Citation
    definition: str = ""
    properties: tuple[tuple[str, Value], ...] = ()


def read_concepts(root: Path) -> dict[str, tuple[Concept, ...]]:
    """The concepts that are rows of the mappings folder, by CodeSystem URL. Raises BadMapping."""
    folder = MappingFolder(root)
    concepts = {
        system: tuple(_concept(row) for row in folder.table(name, _columns(name)))
        for system, name in _TABLES.items()
    }
    concepts[canonical.REFERRAL_STATUS] = tuple(_statuses(folder))
    billed = read_service_codes(folder)
    concepts[canonical.SERVICE] = tuple(
        _with(
            service,
            [
                ("billing-code", " ".join((pair.hcpcs, *pair.modifiers)))
                for pair, named in billed.items()
                if service.code in named
            ],
        )
        for service in concepts[canonical.SERVICE]
    )
    if folder.problems:
        told = "\n".join(f"{problem.place}: {problem.message}" for problem in folder.problems)
        raise BadMapping(f"The guide cannot be made from this folder:\n{told}")
    return concepts


def own_concepts(suppressions: Mapping[str, Suppression]) -> dict[str, tuple[Concept, ...]]:
    """The concepts that are code: notice types, outputs, tags, and the rules we name."""
    return {
        canonical.NOTICE_TYPE: tuple(
            Concept(str(notice), NOTICE_LABELS[notice], citation, definition)
            for notice, (definition, citation) in _NOTICES.items()
        ),
        canonical.OUTPUT_TYPE: tuple(
            Concept(code, label, _OURS, _OUTPUTS[code]) for code, label in OUTPUT_LABELS.items()
        ),
        canonical.TAG: tuple(
            Concept(code, code.capitalize(), _OURS, definition)
            for code, definition in _TAGS.items()
        ),
        canonical.RULE: (
            *(Concept(code, _worded(code), _OURS, said) for code, said in _RULES.items()),
            *(
                Concept(rule.id, _worded(rule.id), rule.citation, rule.sentence)
                for rule in suppressions.values()
            ),
        ),
    }


_OURS = Citation("This project's own code; the program has no list of its own", "project-default")

# The hub layout whose spellings are DHCS's own words.
_STATUS_TABLE = "hubs/rtf-cs/codes/referral-status.csv"

_TABLES = {
    canonical.CLOSURE_REASON: "codes/closure-reason.csv",
    canonical.AUTHORIZATION_STATUS: "codes/authorization-status.csv",
    canonical.AUTHORIZATION_BASIS: "codes/authorization-basis.csv",
    canonical.SERVICE: "codes/services.csv",
    canonical.REFERRAL_SOURCE: "codes/referral-source.csv",
    canonical.POPULATION_OF_FOCUS: "codes/populations-of-focus.csv",
}
_ATTRIBUTES = {
    "codes/closure-reason.csv": (
        *("served", "provider_closes_loop", "requester_closes_loop"),
        *("text_required", "task_status", "valid_from"),
    ),
    "codes/authorization-status.csv": (
        *("decided", "authorizes", "reason_required", "closes_with", "task_status", "valid_from"),
    ),
    "codes/authorization-basis.csv": ("starts_before_decision",),
    "codes/services.csv": ("program", "clr_from", "clr_to", "sdoh_category"),
    "codes/referral-source.csv": ("external",),
    "codes/populations-of-focus.csv": ("number",),
}
_DATES = ("valid_from", "clr_from", "clr_to")

_STATUSES = {
    ReferralStatus.PENDING: "Authorized and with the provider, who has not answered.",
    ReferralStatus.ACCEPTED: "The provider has taken the referral.",
    ReferralStatus.DECLINED: "The provider cannot take it; this is not the member's refusal.",
    ReferralStatus.OUTREACH_INITIATED: "The provider has begun to reach out to the member.",
    ReferralStatus.LOOP_CLOSED: "Nothing more will happen; a reason and a date say how it ended.",
}
_NOTICES = {
    NoticeType.AUTHORIZATION_DECIDED: (
        "The plan has decided on the authorization.",
        Citation("DHCS MOU provision on closed-loop referrals: authorization status", "verified"),
    ),
    NoticeType.PROVIDER_ASSIGNED: (
        "The referral has been given to a provider, or to another one.",
        Citation("A plan's provider library: assignment to a provider is told", "secondary"),
    ),
    NoticeType.STATUS_CHANGED: (
        "The provider has reported a status that closes no loop.",
        Citation("Project rule: told where the agreement asks for it", "project-default"),
    ),
    NoticeType.LOOP_CLOSED: (
        "The loop is closed, with reason and date.",
        Citation(
            "DHCS MOU provision on closed-loop referrals: reason for and date of closure",
            "verified",
        ),
    ),
}
_OUTPUTS = {
    "authorization-decision": (
        "The plan's decision: its authorization status as a code, and its ClaimResponse."
    ),
    "assigned-provider": "The organisation that the plan has given the referral to.",
}
_TAGS = {
    canonical.TAG_INFERRED: "A version that nobody reported: a step on the legal way to the next.",
    canonical.TAG_LATE: "A version that says what was learned after newer news.",
}
_RULES = {
    "assign-before-authorization": (
        "A provider is assigned after approval, or on a basis that needs no decision yet."
    ),
    "assigned-since": "An assignment is not older than the one it follows.",
    "before-referral": "Nothing happens to a referral before the day it was made.",
    "closure-needs-reason": "A loop is closed only with a reason.",
    "cut-history": "The history of a referral begins with the referral.",
    "decision-needs-reason": "A decision of this status needs a reason.",
    "another-person": "The person of an open referral does not become somebody else.",
    "fixed-element": "Parties, person, request and place in the tree of a Task do not change.",
    "future-date": "What is told has happened already.",
    "idempotency-key": "One Idempotency-Key stands for one request.",
    "loop-closed": "A closed loop stays closed; a new need is a new referral that replaces it.",
    "not-in-force": "A code is used from the day it is valid.",
    "not-a-provider": "A referral is given to a provider, or to a hub.",
    "no-referral": "What is told belongs to a referral that is known.",
    "not-assigned": "Only a provider that the referral was assigned to reports on it.",
    "owner-no-plan": "A referral's Task is its plan's, or that of a hub acting for the plan.",
    "part-of-referral": "What a referral rests on is kept as evidence.",
    "provider-unknown": "An assignment names its provider.",
    "reason-needs-text": "This closure reason needs a few words of explanation.",
    "reason-without-closure": "A closure reason is given only with a closed loop.",
    "status-disagrees": "Task.status and the referral status say the same.",
    "task-ended": "A Task that has ended does not move.",
    "task-transition": "Task.status moves along the published transitions only.",
    "wrong-party": "Each party does only what is its own to do.",
}


def _columns(name: str) -> tuple[str, ...]:
    return ("code", "label", *_ATTRIBUTES[name], "source", "confidence")


def _concept(row: TableRow) -> Concept:
    values = [
        (column.replace("_", "-"), value)
        for column in row.cells
        if column not in ("code", "label", "source", "confidence")
        and (value := _value(row, column)) not in ("", None)
    ]
    return _with(Concept(row.text("code"), row.text("label"), row.citation()), values)


def _value(row: TableRow, column: str) -> Value | None:
    if column in _DATES:
        return row.day(column)
    return row.flag(column) if row.cells[column] in ("yes", "no") else row.optional(column)


def _statuses(folder: MappingFolder) -> Iterable[Concept]:
    """The five referral statuses in DHCS's words; other spellings of the layout are not codes."""
    rows = folder.table(_STATUS_TABLE, ("spelling", "code", "source", "confidence"))
    cited = {(row.text("code"), row.text("spelling")): row.citation() for row in rows}
    for status, label in STATUS_LABELS.items():
        citation = cited.get((status.value, label))
        if citation is None:
            folder.problem(_STATUS_TABLE, "No row has this label.", value=label)
        else:
            yield Concept(status.value, label, citation, _STATUSES[status])


def _with(concept: Concept, more: Iterable[tuple[str, Value | None]]) -> Concept:
    added = tuple((name, value) for name, value in more if value is not None)
    return Concept(
        concept.code,
        concept.label,
        concept.citation,
        concept.definition,
        (*concept.properties, *added),
    )


def _worded(code: str) -> str:
    return code.replace("-", " ").capitalize()
