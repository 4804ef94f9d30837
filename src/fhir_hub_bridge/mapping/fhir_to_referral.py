"""What a FHIR client says of a new referral: Task, ServiceRequest and Patient become `Refer`.

Nothing is guessed: a service, population or CIN that cannot be understood is an issue at its
place. Beside: `task_change`, what an update of the Task says. After: `intake`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.dates import parse_date, parse_instant
from fhir_hub_bridge.fhir.reference import parse_reference
from fhir_hub_bridge.mapping.cell_values import Fault, read_cin
from fhir_hub_bridge.mapping.codings import OUTPUT_LABELS, code_in
from fhir_hub_bridge.referral.deadlines import Calendar, local_date
from fhir_hub_bridge.referral.model import Identifier, Member, Party, Refer
from fhir_hub_bridge.referral.rulebook import BillingCode, Rulebook


@dataclass(frozen=True, slots=True)
class Reading:
    """What is needed to read a Task besides itself."""

    rulebook: Rulebook
    party: Callable[[Json | None], Party]  # the party a Reference means
    resource: Callable[[str], Json | None]  # a resource by `Type/id`, sent along or stored
    today: date
    cin_systems: frozenset[str] = frozenset()


def is_fulfilment(task: Json) -> bool:
    """Whether this is a Task to fulfil a ServiceRequest."""
    focus = str(task.get("focus", {}).get("reference", ""))
    return (
        code_in(task.get("code"), canonical.TASK_CODE) == "fulfill" and "ServiceRequest/" in focus
    )


def read_referral(task: Json, *, plan: Party, reading: Reading) -> Refer:
    """A new referral from its Task, ServiceRequest and Patient.

    Raises ResourceRejected with an issue for each thing that cannot be understood.
    """
    request = reading.resource(_target(task, "focus"))
    if request is None:
        raise ResourceRejected(issues=[_dangling("Task.focus", "ServiceRequest")])
    issues = _rules_issues(task)
    patient = reading.resource(_target(request, "subject"))
    if patient is None or patient["resourceType"] != "Patient":
        issues.append(_dangling("ServiceRequest.subject", "Patient"))
    elif task.get("for") and reading.resource(_target(task, "for")) != patient:
        message = "The Task is for another person than its ServiceRequest."
        issues.append(_issue("Task.for", "another-person", message))
    service = service_of(request, reading.rulebook)
    if service is None:
        message = "No service has this code and modifiers."
        issues.append(_issue("ServiceRequest.code", "unknown-service", message))
    member, cin_issue = _member(patient or {}, reading)
    population, population_issue = _population(request, reading.rulebook)
    issues += [issue for issue in (cin_issue, population_issue) if issue]
    if issues:
        raise ResourceRejected(issues=issues)
    assert service is not None  # noqa: S101  # an issue above says so otherwise
    group = task.get("groupIdentifier", {})
    return Refer(
        service=service,
        member=member,
        plan=plan,
        requester=_requester(task, request, reading),
        identifiers=tuple(
            Identifier(str(i.get("system", "")), str(i["value"]))
            for i in request.get("identifier", [])
            if i.get("value")
        ),
        # another system's group is the client's own affair
        clr_id=str(group.get("value", "")) if group.get("system") == canonical.CLR_ID else "",
        referred_on=day_of(
            request.get("authoredOn") or task.get("authoredOn"), reading.rulebook.calendar
        ),
        self_referral=_is_person(request.get("requester") or task.get("requester")),
        replaces=str((request.get("replaces") or [{}])[0].get("reference", "")),
        population_of_focus=population,
    )


def service_of(request: Json, rulebook: Rulebook) -> str | None:
    """The service a ServiceRequest asks for, by our code or HCPCS with its modifiers; else None."""
    for coding in request.get("code", {}).get("coding", []):
        code = str(coding.get("code", ""))
        if coding.get("system") == canonical.SERVICE and code in rulebook.services:
            return code
        if coding.get("system") == canonical.HCPCS:
            modifiers = tuple(
                str(e.get("valueCode") or e.get("valueString", "")).upper()
                for e in coding.get("extension", [])
                if e.get("url") == canonical.HCPCS_MODIFIER_EXTENSION
            )
            found = _by_billing_code(BillingCode(code.upper(), modifiers), rulebook)
            if found:
                return found
    return None


def day_of(text: str | None, calendar: Calendar) -> date | None:
    """The program's local date of a FHIR date or dateTime; None for absent or partial ones."""
    if not text:
        return None
    if "T" in text:
        return local_date(parse_instant(text), calendar)
    return parse_date(text).first if len(text) == 10 else None


def _rules_issues(task: Json) -> list[Issue]:
    """Nothing has been decided on a new referral: what the rules write, no client writes."""
    issues = []
    if code_in(task.get("businessStatus"), canonical.REFERRAL_STATUS):
        message = "A new Task has no referral status; the plan's decision comes first."
        issues.append(_issue("Task.businessStatus", "rules-element", message))
    if any(
        code_in(output.get("type"), canonical.OUTPUT_TYPE) in OUTPUT_LABELS
        for output in task.get("output", [])
    ):
        message = "A new Task has no decision and no provider; they are acts of the plan."
        issues.append(_issue("Task.output", "rules-element", message))
    return issues


def _requester(task: Json, request: Json, reading: Reading) -> Party:
    """Who must be told. One that cannot be made out has its reference for a name: it is owed all
    the same, and a person finds out who it is."""
    reference = task.get("requester") or request.get("requester")
    party = reading.party(reference)
    if party.is_named or reference is None or _is_person(reference):
        return party
    return Party(name=str(reference.get("display") or reference.get("reference", "")))


def _is_person(reference: Json | None) -> bool:
    """Whether the member, or family for the member, refers.

    SDOHCC's self-referral: the person asks, the plan's intake stands as the Task's requester.
    """
    reference = reference or {}
    literal = parse_reference(str(reference.get("reference", "")))
    kind = literal.type if literal else reference.get("type")
    return kind in ("Patient", "RelatedPerson")


def _by_billing_code(asked: BillingCode, rulebook: Rulebook) -> str | None:
    """The one service with this code and these modifiers; without any only if none differs."""
    found = {
        service.code
        for service in rulebook.services.values()
        for billing in service.billing_codes
        if billing.hcpcs == asked.hcpcs
        and (not asked.modifiers or set(billing.modifiers) == set(asked.modifiers))
    }
    return found.pop() if len(found) == 1 else None


def _member(patient: Json, reading: Reading) -> tuple[Member, Issue | None]:
    systems = reading.cin_systems | {canonical.MEDI_CAL_CIN}
    for number, value in enumerate(patient.get("identifier", [])):
        if value.get("system") in systems:
            read = read_cin(str(value.get("value", "")))
            if isinstance(read, Fault):
                place = f"Patient.identifier[{number}].value"
                return Member(), _issue(place, read.rule, read.message)
            return Member(cin=read[0]), None
    return Member(), None


def _population(request: Json, rulebook: Rulebook) -> tuple[str, Issue | None]:
    for number, extension in enumerate(request.get("extension", [])):
        if extension.get("url") == canonical.POPULATION_OF_FOCUS_EXTENSION:
            code = str(extension.get("valueCode", ""))
            if code in rulebook.populations_of_focus:
                return code, None
            place = f"ServiceRequest.extension[{number}]"
            return "", _issue(place, "unknown-population", "No population of focus has this code.")
    return "", None


def _target(resource: Json, element: str) -> str:
    return str(resource.get(element, {}).get("reference", ""))


def _dangling(place: str, kind: str) -> Issue:
    return _issue(place, "dangling-reference", f"The {kind} is not known here.")


def _issue(place: str, rule: str, message: str) -> Issue:
    return Issue(
        place, message, code="business-rule" if rule.startswith("cin") else "invalid", rule=rule
    )
