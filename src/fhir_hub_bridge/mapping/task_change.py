"""What a client's update of a tracked Task says: the acts in it, and the rest that is the client's.

Elements that the rules own are read and then written by the rules; of all others the client
changes those it sends, and what it leaves out stays. Beside: `fhir_to_referral`, which reads a new
one. After: `intake`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from fhir_hub_bridge.errors import Issue, ResourceRejected, RuleBroken
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.task_states import TERMINAL, normalised
from fhir_hub_bridge.mapping.codings import OUTPUT_LABELS, code_in
from fhir_hub_bridge.mapping.fhir_to_referral import Reading, day_of
from fhir_hub_bridge.mapping.fixed_elements import names_the_same
from fhir_hub_bridge.mapping.status_to_task import referral_status
from fhir_hub_bridge.referral.deadlines import Calendar
from fhir_hub_bridge.referral.model import (
    Act,
    Assign,
    Decide,
    Party,
    ReferralStatus,
    Report,
    Withdraw,
)

S = ReferralStatus

OWNED = ("status", "statusReason", "businessStatus", "output", "lastModified", "executionPeriod")
"""The elements of a tracked Task that the rules own."""

FIXED = ("requester", "for", "focus", "code", "intent")
"""The elements of a tracked Task that no update may change or add."""

LINKS = ("owner", "partOf", "groupIdentifier", "basedOn")
"""Those that an update may add but not change; who may become the owner, `intake` checks."""


@dataclass(frozen=True, slots=True)
class TaskChange:
    """What a client's new body of a tracked Task means."""

    acts: tuple[Act, ...]
    base: Json  # the stored body with what the client sends of the elements the rules do not own;
    # its status is the client's only where no act explains it (accepted by the plan, on-hold ...)
    claim_response: str = ""  # the ClaimResponse that a decision among the acts points at


def read_change(
    stored: Json,
    incoming: Json,
    *,
    provider: Party | None,
    reading: Reading,
    by_requester: bool = False,
) -> TaskChange:
    """What a client's update of a tracked Task says.

    `provider` is the assignee of a provider's Task, None for the plan's Task. `by_requester`: it
    stands on that side of it alone, and cancelling is then taking back. Raises RuleBroken
    (`fixed-element`, `status-disagrees`), UnmappedCode and ResourceRejected.
    """
    kept = _kept(stored, incoming, reading)
    acts: list[Act] = [] if provider else _plan_acts(stored, incoming, reading)
    closed = any(
        isinstance(act, Decide) and reading.rulebook.authorization_status(act.status).closes_with
        for act in acts
    )
    if by_requester and provider is None and _step(stored, incoming) == "cancelled":
        text = str(incoming.get("statusReason", {}).get("text", ""))
        acts.append(Withdraw(reading.today, text))
        closed = True
    reported = None if closed else _report(stored, incoming, provider=provider, reading=reading)
    if reported:
        acts.append(reported)
    base = stored | {k: v for k, v in incoming.items() if k not in OWNED} | kept
    step = _step(stored, incoming)
    if step and not (reported or closed):
        # a step that says nothing of the referral (accepted by the plan, on hold, resumed)
        base = {k: v for k, v in base.items() if k != "statusReason"} | {"status": step}
        base |= {k: v for k, v in incoming.items() if k == "statusReason"}
    outputs = _others_outputs(incoming) or _others_outputs(stored)
    outputs += [o for o in stored.get("output", []) if _kind(o) in OUTPUT_LABELS]
    _, claim_response = _decision(incoming) or ("", "")
    return TaskChange(tuple(acts), base | ({"output": outputs} if outputs else {}), claim_response)


def _kept(stored: Json, incoming: Json, reading: Reading) -> Json:
    """The fixed elements as they are stored; whoever sends them may write them otherwise."""
    names = (*FIXED, *(link for link in LINKS if link in stored))
    for name in names:
        before, after = stored.get(name), incoming.get(name)
        if not names_the_same(before, after, resource=reading.resource):
            raise RuleBroken("fixed-element", f"Task.{name} does not change.", place=f"Task.{name}")
    return {name: stored[name] for name in names if name in stored}


def _plan_acts(stored: Json, incoming: Json, reading: Reading) -> list[Act]:
    acts: list[Act] = []
    before, after = _decision(stored), _decision(incoming)
    if after is not None and after != before:
        acts.append(_decide(after, reading))
    provider = _assigned(incoming)
    if provider is not None and provider != _assigned(stored):
        party = reading.party(provider)
        if not party.is_named:
            raise ResourceRejected(
                issues=[Issue("Task.output", "The provider is not known.", rule="provider-unknown")]
            )
        acts.append(Assign(party, reading.today))
    return acts


def _decide(decision: tuple[str, str], reading: Reading) -> Decide:
    status, reference = decision
    if not status:
        message = "No authorization status of the published code system is given."
        raise ResourceRejected(issues=[Issue("Task.output", message, rule="unknown-status")])
    response = reading.resource(reference) or {}
    extensions = {e.get("url"): e for e in response.get("extension", [])}
    basis = extensions.get(canonical.AUTHORIZATION_BASIS_EXTENSION, {}).get("valueCode", "prior")
    reason = extensions.get(canonical.AUTHORIZATION_REASON_EXTENSION, {}).get(
        "valueCodeableConcept", {}
    )
    codings = reason.get("coding", [])
    codes = [str(c["code"]) for c in codings if c.get("code")]
    # never the disposition: it is the plan's word on its claim, not its reason
    words = [reason.get("text"), *(c.get("display") for c in codings), *codes]
    row = reading.rulebook.authorization_status(status)
    period = response.get("preAuthPeriod", {})
    calendar = reading.rulebook.calendar
    return Decide(
        status=status,
        on=day_of(response.get("created"), calendar) or reading.today,
        basis=str(basis),
        number=str(response.get("preAuthRef", "")),
        starts_on=day_of(period.get("start"), calendar),
        ends_on=day_of(period.get("end"), calendar),
        reason_code=codes[0] if codes else "",
        reason=next((str(w) for w in words if w), "") if row.reason_required else "",
    )


def _report(
    stored: Json, incoming: Json, *, provider: Party | None, reading: Reading
) -> Report | None:
    """The referral status a Task update tells of, where it is another than the stored one."""
    step = _step(stored, incoming)
    status = _status(stored, incoming, step=step, by_plan=provider is None)
    if status is None:
        return None
    reason = incoming.get("statusReason", {})
    closing = status is S.LOOP_CLOSED
    code = _closure_reason(reason, step, reading) if closing else ""
    _check_agrees(step, status, code, reading)
    if provider is None and not closing:
        return None  # the plan's Task only mirrors what providers say
    calendar = reading.rulebook.calendar
    return Report(
        status=status,
        on=_reported_on(incoming, stored, closing=closing, calendar=calendar) or reading.today,
        provider=provider or Party(),
        reason=code,
        text=str(reason.get("text", "")),
    )


def _closure_reason(said: Json, step: str, reading: Reading) -> str:
    """The reason as coded. Completed means served, to the many clients that never code one."""
    code = code_in(said, canonical.CLOSURE_REASON)
    if code or step != "completed":
        return code
    reasons = reading.rulebook.closure_reasons.values()
    served = [row.code for row in reasons if row.served and row.task_status == step]
    return served[0] if len(served) == 1 else ""


def _step(stored: Json, incoming: Json) -> str:
    """The Task.status that the client goes to, "" where it stays."""
    status = normalised(str(incoming["status"]))
    return "" if status == stored["status"] else status


def _status(stored: Json, incoming: Json, *, step: str, by_plan: bool) -> ReferralStatus | None:
    """What is said, in so many words or by the step of Task.status; None where nothing new is."""
    said, before = incoming.get("businessStatus", {}), stored.get("businessStatus", {})
    code = code_in(said, canonical.REFERRAL_STATUS)
    told_before = code_in(before, canonical.REFERRAL_STATUS)
    status: ReferralStatus | None = None
    if code and (code != told_before or (not step and _dated(said) not in (_dated(before), ""))):
        if code not in set(S):
            message = "No referral status has this code."
            raise ResourceRejected(
                issues=[Issue("Task.businessStatus", message, rule="unknown-status")]
            )
        status = S(code)
    elif step and (stored["status"], step) != ("on-hold", "in-progress"):  # resumed says nothing
        status = referral_status(step)
        status = None if status == told_before else status
    if by_plan and step in TERMINAL and status in (None, S.DECLINED):
        return S.LOOP_CLOSED  # the plan's Task ends with its loop, and only so
    return status


def _check_agrees(step: str, status: ReferralStatus, reason: str, reading: Reading) -> None:
    """Where Task.status takes a step too, it must not say the opposite."""
    if not step:
        return
    closing = status is S.LOOP_CLOSED
    if step in TERMINAL and closing and not reason:
        return  # a missing reason is the rules' to refuse
    served = closing and bool(reason) and reading.rulebook.closure_reason(reason).served
    ends = status in (S.DECLINED, S.LOOP_CLOSED)
    if ends != (step in TERMINAL) or (ends and (step == "completed") != served):
        raise RuleBroken(
            "status-disagrees",
            f"Task.status {step} and what is said of the referral disagree.",
            place="Task.status",
        )


def _reported_on(incoming: Json, stored: Json, *, closing: bool, calendar: Calendar) -> date | None:
    """The day the status took effect, as the client dates it; None where it does not."""
    said = incoming.get("businessStatus", {})
    if _dated(said) and said != stored.get("businessStatus"):
        return day_of(_dated(said), calendar)
    if closing:
        return day_of(incoming.get("executionPeriod", {}).get("end"), calendar)
    return None


def _dated(business_status: Json) -> str:
    for extension in business_status.get("extension", []):
        if extension.get("url") == canonical.STATUS_DATE_EXTENSION:
            return str(extension.get("valueDate", ""))
    return ""


def _decision(task: Json) -> tuple[str, str] | None:
    """Code and ClaimResponse reference of the authorization output; "" for what is absent."""
    outputs = [o for o in task.get("output", []) if _kind(o) == "authorization-decision"]
    if not outputs:
        return None
    code = reference = ""
    for output in outputs:
        code = code or code_in(output.get("valueCodeableConcept"), canonical.AUTHORIZATION_STATUS)
        reference = reference or str(output.get("valueReference", {}).get("reference", ""))
    return code, reference


def _assigned(task: Json) -> Json | None:
    for output in task.get("output", []):
        if _kind(output) == "assigned-provider":
            reference: Json = output.get("valueReference", {})
            return {k: v for k, v in reference.items() if k != "display"}
    return None


def _others_outputs(task: Json) -> list[Json]:
    return [o for o in task.get("output", []) if _kind(o) not in OUTPUT_LABELS]


def _kind(output: Json) -> str:
    return code_in(output.get("type"), canonical.OUTPUT_TYPE)
