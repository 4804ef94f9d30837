"""A referral's Task as older systems write it, said in the words of SDOH Clinical Care 3.0.

Tasks alone: a ServiceRequest is its sender's and stays as sent (its `original-order` is taken as
it is). Before: `intake`, which keeps the original (docs/decisions/0011).
http://hl7.org/fhir/us/sdoh-clinicalcare (coordination platforms, reference implementations)
"""

from __future__ import annotations

from typing import Any, Final

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.reference import parse_reference
from fhir_hub_bridge.fhir.task_states import normalised

_GUIDE: Final = "http://hl7.org/fhir/us/sdoh-clinicalcare/CodeSystem"
CODES: Final = f"{_GUIDE}/SDOHCC-CodeSystemTemporaryCodes"
OLDER_CODES: Final = f"{_GUIDE}/sdohcc-temporary-codes"
"""The address of the guide's codes in its versions 1 and 2."""


def in_todays_words(task: Json) -> Json:
    """The Task, or, where it speaks an older dialect, what it would be today.

    `received` is `requested`; the intent `filler-order` is `order`; a parent Task named in
    `basedOn` is named in `partOf`; the guide's codes have their present address.
    """
    today: Json = _with_codes(task)
    if isinstance(task.get("status"), str):
        today = today | {"status": normalised(task["status"])}
    if task.get("intent") == "filler-order":
        today = today | {"intent": "order"}
    parents = [link for link in task.get("basedOn", []) if _is_task(link)]
    if parents:
        others = [link for link in task["basedOn"] if not _is_task(link)]
        known = task.get("partOf", [])
        links = {
            "partOf": [*known, *(parent for parent in parents if parent not in known)],
            "basedOn": others,
        }
        today = {name: value for name, value in (today | links).items() if value != []}
    return today


def _is_task(link: Json) -> bool:
    named = parse_reference(str(link.get("reference", "")))
    return link.get("type") == "Task" or (named is not None and named.type == "Task")


def _with_codes(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: CODES if name == "system" and child == OLDER_CODES else _with_codes(child)
            for name, child in value.items()
        }
    if isinstance(value, list):
        return [_with_codes(child) for child in value]
    return value
