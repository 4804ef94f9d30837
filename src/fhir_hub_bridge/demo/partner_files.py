"""The demo's partners as the TOML files that `partner add` takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

OPERATOR = "golden-plan"
TOLD_BY_FILE = "valley-county"
_NOT_YET_LIVE = "late-start-clinic"
_TOLD_EVERY_STATUS = "river-clinic"


def write_partner_files(
    folder: Path,
    partners: Sequence[Mapping[str, Any]],
    *,
    today: date,
    fhir_base: str,
    drop: Path,
) -> list[Path]:
    """A file for each partner of the script: how it is called, and how it is told.

    `fhir_base` is the pretend EHR's, `drop` the folder in which notices are left as files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    providers = [str(p["id"]) for p in partners if p["kind"] == "provider"]
    written: list[Path] = []
    for partner in partners:
        lines: dict[str, Any] = {
            "id": partner["id"],
            "name": partner["name"],
            "kind": partner["kind"],
            "npi": partner["npi"],
            "tin": partner["tin"],
            "phone": partner["phone"],
        }
        if partner["plan_code"]:
            lines["plan_codes"] = [partner["plan_code"]]
        if partner["kind"] == "hub":
            lines["acts_for"] = providers
        text = _toml(lines)
        if partner["kind"] == "referring-entity":
            agreement = _agreement(str(partner["id"]), today=today, fhir_base=fhir_base, drop=drop)
            text += f"\n[agreement]\n{_toml(agreement)}"
        path = folder / f"{partner['id']}.toml"
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _agreement(partner: str, *, today: date, fhir_base: str, drop: Path) -> dict[str, Any]:
    begins = today + timedelta(days=30) if partner == _NOT_YET_LIVE else today - timedelta(days=90)
    if partner == TOLD_BY_FILE:
        return {
            "method": "file-drop",
            "endpoint": str(drop),
            "proof": "acknowledgement",
            "notify_from": begins,
        }
    every = partner == _TOLD_EVERY_STATUS
    return {
        "method": "fhir-push",
        "endpoint": fhir_base,
        "proof": "2xx",
        "notify_from": begins,
        "every_status": every,
        "task_view": every,
    }


def _toml(values: Mapping[str, Any]) -> str:
    # A JSON string, list or truth value is one of TOML's, too; a date is bare.
    return "".join(
        f"{key} = {value.isoformat() if isinstance(value, date) else json.dumps(value)}\n"
        for key, value in values.items()
    )
