"""What a referring entity's software understands of a notice: who, what kind, about what.

It knows FHIR R4 Communication and the published code systems, nothing of the sender's inside.
http://hl7.org/fhir/R4/communication.html
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from fhir_hub_bridge.sandbox.fhir_shelf import identifiers_of
from fhir_hub_bridge.sandbox.journal import JsonObject

# Longer words first: `approved as modified` is not `approved`.
_WORDS = {
    "Referral Loop Closed": r"(?:referral )?loop closed",
    "Outreach Initiated": r"outreach initiated",
    "Accepted": r"accepted",
    "Declined": r"declined",
    "Pending": r"pending",
    "approved-modified": r"approved (?:as )?modified|approved with modifications",
    "approved": r"approved",
    "denied": r"denied",
    "deferred": r"deferred",
    "withdrawn": r"withdrawn",
}
_ANY_WORD = re.compile(
    r"\b(?:" + "|".join(f"(?P<w{n}>{p})" for n, p in enumerate(_WORDS.values())) + r")\b",
    re.IGNORECASE,
)
_REFERRAL_ID = re.compile(r"\bR-\d{4,}\b")


def resources_in(document: Any) -> list[JsonObject]:
    """The resources a request carries: its Bundle's entries, or the one resource itself."""
    if not isinstance(document, dict):
        return []
    if document.get("resourceType") != "Bundle":
        return [document]
    entries = document.get("entry", [])
    listed = entries if isinstance(entries, list) else []
    return [
        e["resource"] for e in listed if isinstance(e, dict) and isinstance(e.get("resource"), dict)
    ]


def identifier_values(resources: list[JsonObject]) -> set[str]:
    """Every business identifier's value of these resources."""
    return {value for resource in resources for _, value in identifiers_of(resource)}


def read_notices(resources: list[JsonObject], *, own: Collection[str] = ()) -> list[JsonObject]:
    """One JSON object for each Communication: its id, type, subject matter and status words.

    `own` are the referral ids that the reader gave out itself; one of them in the text is
    how it recognises its referral where the notice names no identifier.
    """
    tasks = [r for r in resources if r.get("resourceType") == "Task"]
    return [
        _read(resource, tasks=tasks, own=own)
        for resource in resources
        if resource.get("resourceType") == "Communication"
    ]


def _read(notice: JsonObject, *, tasks: list[JsonObject], own: Collection[str]) -> JsonObject:
    values = [value for _, value in identifiers_of(notice)] or [str(notice.get("id", ""))]
    about = _references(notice, "about")
    based_on = _references(notice, "basedOn")
    text = " ".join(_strings(notice.get("payload", [])))
    spoken = f"{text} {' '.join(_task_words(tasks))}".replace("-", " ").replace("_", " ")
    return {
        "notice": values[0],
        "notice_ids": values,
        "type": _first_code(notice.get("category")),
        "about": about[0] if about else None,
        "based_on": based_on[0] if based_on else None,
        "referral": _referral(notice, text=text, own=own),
        "status_words": _status_words(spoken),
    }


def _references(notice: JsonObject, element: str) -> list[str]:
    return [str(r["reference"]) for r in _dicts(notice.get(element)) if r.get("reference")]


def _first_code(categories: Any) -> str | None:
    for category in _dicts(categories):
        for coding in _dicts(category.get("coding")):
            if coding.get("code"):
                return str(coding["code"])
    return None


def _referral(notice: JsonObject, *, text: str, own: Collection[str]) -> str | None:
    for element in ("basedOn", "about"):
        for reference in _dicts(notice.get(element)):
            for _, value in identifiers_of(reference):
                return value
    for value in own:
        if re.search(rf"(?<![\w-]){re.escape(value)}(?![\w-])", text):
            return value
    found = _REFERRAL_ID.search(text)
    return found[0] if found else None


def _task_words(tasks: list[JsonObject]) -> Iterator[str]:
    for task in tasks:
        status = task.get("businessStatus")
        for coding in _dicts(status.get("coding")) if isinstance(status, dict) else []:
            yield str(coding.get("code", ""))


def _status_words(text: str) -> list[str]:
    names = list(_WORDS)
    found = [names[int((m.lastgroup or "w0")[1:])] for m in _ANY_WORD.finditer(text)]
    return list(dict.fromkeys(found))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _dicts(value: Any) -> list[JsonObject]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []
