"""A provider's Task as it stands on its own server, told as an update of ours.

Only what the provider moves is taken, and only what is new since it was last seen there: the rest
of its copy may be behind ours. Beside: `task_change`, which reads the update. After:
`intake.child_changed`.
"""

from __future__ import annotations

from typing import Final

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.reference import local_references, rewrite_references
from fhir_hub_bridge.fhir.task_states import normalised
from fhir_hub_bridge.mapping.codings import code_in, status_reason
from fhir_hub_bridge.referral.rulebook import Rulebook

_MOVED: Final = ("status", "businessStatus", "statusReason", "output", "executionPeriod")


def what_it_says(task: Json, *, base: str = "") -> Json:
    """What a provider moves of a Task; references to its server, at `base`, made absolute."""
    said: Json = {name: task[name] for name in _MOVED if name in task}
    there = {reference: f"{base}/{reference}" for reference in local_references(said)}
    return rewrite_references(said, there) if base else said


def as_updates(stored: Json, says: Json, *, seen: Json, rulebook: Rulebook) -> list[Json]:
    """The bodies that tell our `stored` Task what is new in `says` since `seen`; maybe none.

    Two where a step was missed that says something of its own: on hold means accepted before.
    """
    new = {name: value for name, value in says.items() if seen.get(name) != value}
    gone = [name for name in ("statusReason",) if name in seen and name not in says]
    after = {k: v for k, v in stored.items() if k not in gone} | new
    after = _with_reason_of_served(after, rulebook) if "status" in new else after
    if after == stored:
        return []
    if (stored["status"], after["status"]) == ("requested", "on-hold"):
        paused = {k: v for k, v in after.items() if k != "businessStatus" or k in new}
        return [{**stored, "status": "accepted"}, paused]
    return [after]


def _with_reason_of_served(task: Json, rulebook: Rulebook) -> Json:
    """A completed Task has the one reason that `completed` can have, where its sender names none.

    Nobody can ask a server that is only looked at to say it again in full.
    """
    reason = task.get("statusReason", {})
    if normalised(str(task["status"])) != "completed" or code_in(reason, canonical.CLOSURE_REASON):
        return task
    served = [row for row in rulebook.closure_reasons.values() if row.served]
    if len(served) != 1:
        return task
    coded = status_reason(served[0], str(reason.get("text", "")))
    codings = [*reason.get("coding", []), *coded["coding"]]
    return {**task, "statusReason": {**coded, "coding": codings}}
