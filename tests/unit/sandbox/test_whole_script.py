"""The cast as one JSON document: a program needs nothing else to play it."""

from __future__ import annotations

import json
from datetime import date

import pytest

from fhir_hub_bridge.sandbox.__main__ import main
from fhir_hub_bridge.sandbox.synthetic import PARTNERS, cast
from fhir_hub_bridge.sandbox.synthetic.script import whole_script

TODAY = date(2026, 11, 20)


def test_the_script_holds_everybody_and_everything_they_send() -> None:
    script = whole_script(3, today=TODAY)

    entries = cast(3, today=TODAY)
    assert [r["identifier"] for r in script["referrals"]] == [e.identifier for e in entries]
    assert {p["id"] for p in script["partners"]} == set(PARTNERS)
    reports = sum(len(entry.reports) for entry in entries)
    assert sum(len(file["rows"]) for file in script["files"]) == reports
    assert {stray["fate"] for stray in script["strays"]} == {"kept", "review", "rejected"}


def test_the_first_file_of_reports_has_the_referral_with_the_outage() -> None:
    script = whole_script(1, today=TODAY)

    outage = next(r for r in script["referrals"] if r["is_outage"])
    patient = outage["bundle"]["entry"][0]["resource"]
    cin = patient["identifier"][0]["value"]
    first = next(file for file in script["files"] if file["round"] == 2)
    assert cin in first["rows"][0].values()


def test_the_command_prints_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["cast", "--seed", "3", "--today", "2026-11-20"])

    assert code == 0
    assert json.loads(capsys.readouterr().out) == whole_script(3, today=TODAY)
