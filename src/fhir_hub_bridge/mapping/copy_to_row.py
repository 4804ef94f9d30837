"""A provider's copy of a referral as one row of a table, for those who fetch it from a folder."""

from __future__ import annotations

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.mapping.copy_to_fhir import CopyContent, known_numbers, why_ended

COLUMNS = (
    *("copy_id", "change", "referral_id", "clr_id", "service", "service_label"),
    *("assigned_on", "referral_status", "task_status", "ended_because"),
    *("authorization_number", "authorized_from", "authorized_to", "priority", "note"),
    *("cin", "family", "given", "birth_date", "phone"),
    *("address", "city", "state", "postal_code"),
)


def copy_row(content: CopyContent) -> tuple[str, ...]:
    """The cells under COLUMNS; the same facts as the FHIR message."""
    view, person = content.view, content.patient
    name, address = _first(person, "name"), _first(person, "address")
    phone: Json = next((t for t in person.get("telecom", []) if t.get("system") == "phone"), {})
    numbers = known_numbers(content)
    return (
        content.id,
        content.change,
        str(content.task["id"]),
        view.clr_id,
        view.service,
        view.service_label,
        view.assigned_on.isoformat(),
        view.status.value,
        str(content.task["status"]),
        str((why_ended(content) or {}).get("text", "")),
        view.authorization_number,
        view.authorized_from.isoformat() if view.authorized_from else "",
        view.authorized_to.isoformat() if view.authorized_to else "",
        str(content.request.get("priority", "")),
        " / ".join(str(n.get("text", "")) for n in content.request.get("note", [])),
        str(numbers[0]["value"]) if numbers else "",
        str(name.get("family", "")),
        " ".join(map(str, name.get("given", []))),
        str(person.get("birthDate", "")),
        str(phone.get("value", "")),
        ", ".join(map(str, address.get("line", []))),
        *(str(address.get(part, "")) for part in ("city", "state", "postalCode")),
    )


def _first(person: Json, element: str) -> Json:
    return next(iter(person.get(element, [])), {})
