"""The guide's ConceptMaps: our words in FHIR's, BSeR's in ours, and each plan's file's in DHCS's.

All but BSeR's say what the translator does, from its own tables. Before: `status_to_task`, the
rulebook, the layouts. After: `guide`. https://hl7.org/fhir/R4/valueset-concept-map-equivalence.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.mapping.codings import STATUS_LABELS
from fhir_hub_bridge.mapping.layout import Layout
from fhir_hub_bridge.mapping.status_to_task import CLOSING, TASK_STATUS
from fhir_hub_bridge.referral.model import ReferralStatus
from fhir_hub_bridge.referral.rulebook import Rulebook

S = ReferralStatus

TASK_STATUSES = "http://hl7.org/fhir/ValueSet/task-status"
BSER_STATUS = "http://hl7.org/fhir/us/bser/CodeSystem/TaskBusinessStatusCS"
BSER_STATUSES = "http://hl7.org/fhir/us/bser/ValueSet/TaskBusinessStatusVS"


def concept_maps(rulebook: Rulebook, layouts: Iterable[Layout]) -> list[Json]:
    """Referral status and closure reason to Task.status; BSeR's and plans' files' to ours."""
    of_files = [found for layout in layouts for found in _layout_maps(layout, rulebook)]
    return [_status_map(rulebook), _reason_map(rulebook), _bser_map(), *of_files]


_TASK_STATUS_NOW = "http://hl7.org/fhir/StructureDefinition/Task#Task.status"
_STATUS_REASON = "http://hl7.org/fhir/StructureDefinition/Task#Task.statusReason"

# R4 reads the relation from the target: `wider` = the target means more than the source.
_EQUIVALENCE = {
    (S.PENDING, "requested"): "wider",
    (S.ACCEPTED, "accepted"): "equivalent",
    (S.OUTREACH_INITIATED, "in-progress"): "wider",
    (S.DECLINED, "rejected"): "equivalent",
    (S.DECLINED, "failed"): "wider",
}

# BSeR's code, its display, our status ("" = none), equivalence, comment.
_BSER = (
    ("2.0", "Service Request Created", S.PENDING, "inexact", "Pending once it is authorized."),
    ("3.0", "Service Request Accepted", S.ACCEPTED, "equivalent", ""),
    ("4.0", "Service Request Declined", S.DECLINED, "equivalent", ""),
    (
        *("5.1.1", "Service Request Event Scheduled", S.OUTREACH_INITIATED, "inexact"),
        "An appointment shows that the member was reached.",
    ),
    (
        *("5.1.2", "Scheduled Service Request Event Unattended", S.OUTREACH_INITIATED, "inexact"),
        "The member missed an appointment; reaching out goes on.",
    ),
    (
        *("5.1.3", "Scheduled Service Request Event Cancelled", None, "unmatched"),
        "One appointment is cancelled; the referral status stands as it was.",
    ),
    (
        *("5.1.4", "Service Request Event Completed", None, "unmatched"),
        "One appointment is over; the referral status stands as it was.",
    ),
    (
        *("5.2", "Service Request Cancellation Requested", None, "unmatched"),
        "A wish of the referring entity, not a status; the referral status stands as it was.",
    ),
    (
        *("6.0", "Service Request Fulfillment Cancelled", S.LOOP_CLOSED, "wider"),
        "A closure reason says why.",
    ),
    (
        *("7.0", "Service Request Fulfillment Completed", S.LOOP_CLOSED, "wider"),
        "With the closure reason for services received.",
    ),
)


def _status_map(rulebook: Rulebook) -> Json:
    return _map(
        "clr-referral-status-to-task-status",
        title="CLR Referral Status to Task Status",
        description="The Task.status that says a referral status, by the Task.status before it; "
        "a closed loop has the status of its closure reason.",
        source=(canonical.REFERRAL_STATUS, _value_set(canonical.REFERRAL_STATUS)),
        target=(canonical.TASK_STATUS, TASK_STATUSES),
        elements=[
            {
                "code": status.value,
                "display": label,
                "target": _targets(status, rulebook),
            }
            for status, label in STATUS_LABELS.items()
        ],
    )


def _targets(status: ReferralStatus, rulebook: Rulebook) -> list[Json]:
    """One target for each Task.status it may find; a closing one for each closure reason."""
    found = {now: after for (now, new), after in TASK_STATUS.items() if new is status}
    if CLOSING in found.values():
        comment = "The closure reason's own Task.status, whatever the Task was before."
        return [
            {
                "code": reason.task_status,
                "equivalence": "narrower",
                "comment": comment,
                "dependsOn": [_condition(_STATUS_REASON, canonical.CLOSURE_REASON, reason.code)],
            }
            for reason in rulebook.closure_reasons.values()
        ]
    return [_target(status, now, after) for now, after in found.items()]


def _target(status: ReferralStatus, now: str, after: str) -> Json:
    equivalence = _EQUIVALENCE.get((status, after), "inexact")
    comment = {"comment": "businessStatus says it."} if equivalence == "inexact" else {}
    return {
        "code": after,
        "equivalence": equivalence,
        **comment,
        "dependsOn": [_condition(_TASK_STATUS_NOW, canonical.TASK_STATUS, now)],
    }


def _reason_map(rulebook: Rulebook) -> Json:
    return _map(
        "clr-closure-reason-to-task-status",
        title="CLR Closure Reason to Task Status",
        description="The Task.status of a referral closed for this reason.",
        source=(canonical.CLOSURE_REASON, _value_set(canonical.CLOSURE_REASON)),
        target=(canonical.TASK_STATUS, TASK_STATUSES),
        elements=[
            {
                "code": reason.code,
                "display": reason.label,
                "target": [
                    {
                        "code": reason.task_status,
                        "equivalence": "wider",
                        "comment": "statusReason keeps the reason."
                        if reason.provider_closes_loop
                        else "statusReason keeps the reason; of a provider it ends its part only.",
                    }
                ],
            }
            for reason in rulebook.closure_reasons.values()
        ],
    )


def _bser_map() -> Json:
    return _map(
        "bser-business-status-to-clr-referral-status",
        title="BSeR Business Status to CLR Referral Status",
        description="What a Task.businessStatus of Bidirectional Services eReferral says of a "
        "referral. Inferred by this project.",
        source=(BSER_STATUS, BSER_STATUSES),
        target=(canonical.REFERRAL_STATUS, _value_set(canonical.REFERRAL_STATUS)),
        elements=[
            {
                "code": code,
                "display": display,
                "target": [
                    {
                        **_ours(status),
                        "equivalence": equivalence,
                        **({"comment": comment} if comment else {}),
                    }
                ],
            }
            for code, display, status, equivalence, comment in _BSER
        ],
    )


def _layout_maps(layout: Layout, rulebook: Rulebook) -> Iterator[Json]:
    """What the spellings in a plan's or hub's file mean, in the codes of DHCS's data elements."""
    reasons = {
        spelling: (code, rulebook.closure_reasons[code].label) if code else None
        for spelling, code in layout.reasons.items()
    }
    statuses = {
        spelling: (status.value, STATUS_LABELS[status])
        for spelling, status in layout.statuses.items()
    }
    for what, system, spellings in (
        ("Closure Reason", canonical.CLOSURE_REASON, reasons),
        ("Referral Status", canonical.REFERRAL_STATUS, statuses),
    ):
        yield _map(
            f"{layout.name}-to-{system.rpartition('/')[2]}",
            title=f"{layout.title} to CLR {what}",
            description=f"What a cell of the column {what} means in a file of the layout "
            f"{layout.name}; case and runs of white space do not count. A spelling that is not "
            "listed is not taken.",
            source=("", ""),
            target=(system, _value_set(system)),
            elements=[
                {"code": spelling, "target": [_meant(meaning)]}
                for spelling, meaning in spellings.items()
            ],
        )


def _meant(meaning: tuple[str, str] | None) -> Json:
    if meaning is None:
        return {"equivalence": "unmatched", "comment": "It says that there is none."}
    code, display = meaning
    return {"code": code, "display": display, "equivalence": "equivalent"}


def _ours(status: ReferralStatus | None) -> Json:
    return {"code": status.value, "display": STATUS_LABELS[status]} if status else {}


def _map(
    id_: str,
    *,
    title: str,
    description: str,
    source: tuple[str, str],
    target: tuple[str, str],
    elements: list[Json],
) -> Json:
    return {
        "resourceType": "ConceptMap",
        "id": id_,
        "url": f"{canonical.BASE}/ConceptMap/{id_}",
        "title": title,
        "description": description,
        **({"sourceCanonical": source[1]} if source[1] else {}),
        "targetCanonical": target[1],
        "group": [
            {
                **({"source": source[0]} if source[0] else {}),
                "target": target[0],
                "element": elements,
            }
        ],
    }


def _condition(element: str, system: str, value: str) -> Json:
    return {"property": element, "system": system, "value": value}


def _value_set(system: str) -> str:
    return system.replace("/CodeSystem/", "/ValueSet/")
