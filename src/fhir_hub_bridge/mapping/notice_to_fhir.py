"""A referrer notice as FHIR: the duty, the record we keep, and the frozen message that goes out.

CommunicationRequest says what is owed by when; Communication is the legal record and points at
the Task version it reports; the message is a transaction Bundle another server can take twice.
What it holds is `disclosure.ReferringEntityView` and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json, format_instant
from fhir_hub_bridge.mapping.codings import (
    NOTICE_LABELS,
    STATUS_LABELS,
    business_status,
    concept,
    identifier,
    output_type,
)
from fhir_hub_bridge.mapping.parties_to_fhir import outside_reference_to, reference_to
from fhir_hub_bridge.referral.disclosure import ReferringEntityView
from fhir_hub_bridge.referral.model import NoticeType, Party, ReferralStatus, Report
from fhir_hub_bridge.referral.notices import NoticeOwed

_ELECTRONIC = {
    "coding": [
        {"system": canonical.PARTICIPATION_MODE, "code": "ELECTRONIC", "display": "electronic data"}
    ]
}


@dataclass(frozen=True, slots=True)
class NoticeContent:
    """What one notice says, and of which Task version."""

    id: str
    type: NoticeType
    view: ReferringEntityView
    task: str  # `Task/id/_history/n`, relative to our base
    service_request: str  # `ServiceRequest/id`
    sender: Party
    recipient: Party
    report: Report | None = None  # the status reported, for status-changed
    task_status: str = "in-progress"  # of that Task version


def sentence(content: NoticeContent) -> str:
    """The notice in one plain sentence, without anything about the person."""
    view = content.view
    name = view.identifiers[0].value if view.identifiers else view.clr_id
    match content.type:
        case NoticeType.AUTHORIZATION_DECIDED:
            why = f": {view.authorization_reason}" if view.authorization_reason else ""
            said = f"authorization {view.authorization_label.lower()} on {view.authorized_on}{why}"
        case NoticeType.PROVIDER_ASSIGNED:
            provider = view.provider.name if view.provider else "a provider"
            said = f"assigned to {provider}"
        case NoticeType.STATUS_CHANGED:
            said = f"{_status_label(content)} on {_status_date(content)}"
        case NoticeType.LOOP_CLOSED:
            said = f"referral loop closed on {view.closed_on}: {view.closure_label}"
    return f"Referral {name}: {said}."


def communication_request(content: NoticeContent, owed: NoticeOwed, *, id_: str) -> Json:
    """The duty with its due moment (occurrencePeriod.end)."""
    return {
        "resourceType": "CommunicationRequest",
        "id": id_,
        "identifier": [{"system": canonical.NOTICE_ID, "value": content.id}],
        "basedOn": [{"reference": content.service_request}],
        "status": "revoked" if owed.state == "withheld" else "active",
        "category": [_category(content)],
        "medium": [_ELECTRONIC],
        "about": [{"reference": content.task}],
        "occurrencePeriod": {
            "start": format_instant(owed.owed_at),
            "end": format_instant(owed.due_at),
        },
        "authoredOn": format_instant(owed.owed_at),
        "recipient": [reference_to(content.recipient)],
        "sender": reference_to(content.sender),
    }


def communication(content: NoticeContent, owed: NoticeOwed, *, id_: str, request: str) -> Json:
    """The record we keep; `communication_told` completes it when delivery has proof."""
    status = "not-done" if owed.state == "withheld" else "preparation"
    reason = (
        {"statusReason": {"text": f"Withheld by rule {owed.rule}"}} if status == "not-done" else {}
    )
    return {
        "resourceType": "Communication",
        "id": id_,
        "identifier": [{"system": canonical.NOTICE_ID, "value": content.id}],
        "basedOn": [
            {"reference": content.service_request},
            {"reference": f"CommunicationRequest/{request}"},
        ],
        "status": status,
        **reason,
        "category": [_category(content)],
        "medium": [_ELECTRONIC],
        "about": [{"reference": content.task}],
        "recipient": [reference_to(content.recipient)],
        "sender": reference_to(content.sender),
        "payload": [{"contentString": sentence(content)}],
    }


def communication_told(
    communication: Json, *, sent_at: datetime | None, received_at: datetime | None, status: str
) -> Json:
    """The stored Communication with what delivery proved.

    `status` is a FHIR event status (in-progress, completed, not-done); times are aware.
    """
    times = {"sent": sent_at, "received": received_at}
    return {
        **communication,
        "status": status,
        **{name: format_instant(at) for name, at in times.items() if at is not None},
    }


def message(content: NoticeContent, owed: NoticeOwed, *, base_url: str, with_task: bool) -> Json:
    """The transaction Bundle for the partner's server: conditional updates by our notice id.

    Sent twice it changes nothing there. With `with_task` the partner's view of the Task is added.
    """
    entries = [
        _entry(
            f"Communication?identifier={canonical.NOTICE_ID}|{content.id}",
            _outgoing(content, owed, base_url=base_url),
        )
    ]
    if with_task:
        task_id = content.task.split("/")[1]
        entries.append(
            _entry(
                f"Task?identifier={canonical.REFERRAL_ID}|{task_id}",
                _task_view(content, task_id=task_id, base_url=base_url, owed=owed),
            )
        )
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _outgoing(content: NoticeContent, owed: NoticeOwed, *, base_url: str) -> Json:
    about: Json = {"reference": f"{base_url}/{content.task}"}
    if content.view.identifiers:
        about["identifier"] = identifier(content.view.identifiers[0])
    return {
        "resourceType": "Communication",
        "extension": [_content_extension(content)],
        "identifier": [{"system": canonical.NOTICE_ID, "value": content.id}],
        "status": "in-progress",
        "category": [_category(content)],
        "medium": [_ELECTRONIC],
        "about": [about],
        "sent": format_instant(owed.owed_at),
        "recipient": [outside_reference_to(content.recipient)],
        "sender": outside_reference_to(content.sender),
        "payload": [{"contentString": sentence(content)}],
    }


def _content_extension(content: NoticeContent) -> Json:
    """The same facts for machines; one sub-extension a fact, absent where there is none."""
    view = content.view
    facts: list[Json] = [{"url": "referral-id", "valueString": view.clr_id}]
    if content.report is not None or view.status is not None:
        status = content.report.status if content.report else view.status
        assert status is not None  # noqa: S101  # one of the two is there
        facts.append(
            {
                "url": "referral-status",
                "valueCodeableConcept": concept(
                    canonical.REFERRAL_STATUS, status, STATUS_LABELS[status]
                ),
            }
        )
    if content.report is not None:
        facts.append({"url": "referral-status-date", "valueDate": content.report.on.isoformat()})
    if view.authorization_status:
        facts.append(
            {
                "url": "authorization-status",
                "valueCodeableConcept": concept(
                    canonical.AUTHORIZATION_STATUS,
                    view.authorization_status,
                    view.authorization_label,
                ),
            }
        )
    if view.authorization_reason:
        facts.append({"url": "authorization-reason", "valueString": view.authorization_reason})
    if view.provider is not None:
        facts.append(
            {"url": "assigned-provider", "valueReference": outside_reference_to(view.provider)}
        )
    if view.closed_on is not None:
        facts += [
            {
                "url": "closure-reason",
                "valueCodeableConcept": concept(
                    canonical.CLOSURE_REASON, view.closure_reason, view.closure_label
                ),
            },
            {"url": "closure-date", "valueDate": view.closed_on.isoformat()},
        ]
    return {"url": canonical.NOTICE_CONTENT_EXTENSION, "extension": facts}


def _task_view(content: NoticeContent, *, task_id: str, base_url: str, owed: NoticeOwed) -> Json:
    """The referring entity's view of the plan's Task: an allow-list, built and not cut."""
    view = content.view
    view_of: Json = {
        "resourceType": "Task",
        "identifier": [
            {"system": canonical.REFERRAL_ID, "value": task_id},
            *(identifier(i) for i in view.identifiers),
        ],
        "groupIdentifier": {"system": canonical.CLR_ID, "value": view.clr_id},
        "status": content.task_status,
        "intent": "order",
        "code": {"coding": [{"system": canonical.TASK_CODE, "code": "fulfill"}]},
        "focus": {"reference": f"{base_url}/{content.service_request}"},
        "lastModified": format_instant(owed.owed_at),
        "requester": outside_reference_to(content.recipient),
        "owner": outside_reference_to(content.sender),
    }
    if view.closed_on is not None:
        view_of["statusReason"] = concept(
            canonical.CLOSURE_REASON, view.closure_reason, view.closure_label
        )
        view_of["businessStatus"] = business_status(ReferralStatus.LOOP_CLOSED, view.closed_on)
    elif content.report is not None:
        view_of["businessStatus"] = business_status(content.report.status, content.report.on)
    if outputs := _outputs(view):
        view_of["output"] = outputs
    return view_of


def _outputs(view: ReferringEntityView) -> list[Json]:
    """The decision's headline and the provider, as the plan's Task shows them."""
    outputs: list[Json] = []
    if view.authorization_status:
        status = concept(
            canonical.AUTHORIZATION_STATUS, view.authorization_status, view.authorization_label
        )
        if view.authorization_reason:
            status["text"] = f"{view.authorization_label}: {view.authorization_reason}"
        outputs.append(
            {"type": output_type("authorization-decision"), "valueCodeableConcept": status}
        )
    if view.provider is not None:
        provider = outside_reference_to(view.provider)
        outputs.append({"type": output_type("assigned-provider"), "valueReference": provider})
    return outputs


def _category(content: NoticeContent) -> Json:
    return concept(canonical.NOTICE_TYPE, content.type, NOTICE_LABELS[content.type])


def _entry(url: str, resource: Json) -> Json:
    return {"resource": resource, "request": {"method": "PUT", "url": url}}


def _status_label(content: NoticeContent) -> str:
    return STATUS_LABELS[content.report.status].lower() if content.report else "status changed"


def _status_date(content: NoticeContent) -> str:
    return content.report.on.isoformat() if content.report else ""
