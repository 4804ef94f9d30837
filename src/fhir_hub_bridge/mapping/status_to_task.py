"""The table from (current Task.status, new referral status) to the Task.status that says it.

It settles what fhir.md and hub data leave open: accepted after outreach stays in progress, a
decline is `rejected` before acceptance and `failed` after it (docs/decisions/0008).
"""

from __future__ import annotations

from collections.abc import Mapping

from fhir_hub_bridge.errors import RuleBroken
from fhir_hub_bridge.fhir.task_states import TERMINAL
from fhir_hub_bridge.referral.model import ReferralStatus

S = ReferralStatus

CLOSING = "<closing>"  # the closure reason's own Task.status

TASK_STATUS: Mapping[tuple[str, ReferralStatus], str] = {
    ("requested", S.PENDING): "requested",
    ("requested", S.ACCEPTED): "accepted",
    ("requested", S.OUTREACH_INITIATED): "in-progress",
    ("requested", S.DECLINED): "rejected",
    ("requested", S.LOOP_CLOSED): CLOSING,
    ("accepted", S.PENDING): "accepted",
    ("accepted", S.ACCEPTED): "accepted",
    ("accepted", S.OUTREACH_INITIATED): "in-progress",
    ("accepted", S.DECLINED): "failed",
    ("accepted", S.LOOP_CLOSED): CLOSING,
    ("in-progress", S.PENDING): "in-progress",
    ("in-progress", S.ACCEPTED): "in-progress",
    ("in-progress", S.OUTREACH_INITIATED): "in-progress",
    ("in-progress", S.DECLINED): "failed",
    ("in-progress", S.LOOP_CLOSED): CLOSING,
    ("on-hold", S.PENDING): "on-hold",
    ("on-hold", S.ACCEPTED): "in-progress",
    ("on-hold", S.OUTREACH_INITIATED): "in-progress",
    ("on-hold", S.DECLINED): "failed",
    ("on-hold", S.LOOP_CLOSED): CLOSING,
}


def task_status(current: str, status: ReferralStatus, *, closing: str = "") -> str:
    """The Task.status that says this referral status on a Task that is now `current`.

    `closing` is the closure reason's Task.status. Raises RuleBroken (`task-ended`) when the Task
    has ended or is a draft.
    """
    try:
        found = TASK_STATUS[current, status]
    except KeyError:
        raise RuleBroken(
            "task-ended", f"A Task that is {current} does not become {status}."
        ) from None
    return closing if found == CLOSING else found


def referral_status(task_status: str) -> ReferralStatus | None:
    """What a Task.status alone says of the referral, when the sender gives no businessStatus."""
    return {
        "accepted": S.ACCEPTED,
        "rejected": S.DECLINED,
        "in-progress": S.OUTREACH_INITIATED,
        **dict.fromkeys(TERMINAL & {"completed", "failed", "cancelled"}, S.LOOP_CLOSED),
    }.get(task_status)
