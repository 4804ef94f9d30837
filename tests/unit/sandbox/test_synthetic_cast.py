from __future__ import annotations

import copy
import json
import random
import re
from collections import Counter
from datetime import date

import pytest
from fhir.resources.R4B.bundle import Bundle

from fhir_hub_bridge.sandbox import synthetic
from fhir_hub_bridge.sandbox.rtf_files import rtf_bytes
from fhir_hub_bridge.sandbox.synthetic import CastEntry

TODAY = date(2026, 11, 21)
CAST = synthetic.cast(1, today=TODAY)


def one(**wanted: object) -> CastEntry:
    found = [e for e in CAST if all(getattr(e, k) == v for k, v in wanted.items())]
    return found[0]


def test_the_same_seed_gives_the_same_people_and_another_seed_others() -> None:
    assert synthetic.cast(1, today=TODAY) == CAST
    assert {e.member.cin for e in synthetic.cast(2, today=TODAY)}.isdisjoint(
        e.member.cin for e in CAST
    )


def test_members_are_obviously_made_up_and_have_the_right_form() -> None:
    people = synthetic.members(7, count=200, today=TODAY)

    assert len({p.cin for p in people}) == 200
    assert all(re.fullmatch(r"9\d{7}[AC-HMNT-Z]", p.cin) for p in people)
    assert all(re.fullmatch(r"\(916\) 555-01\d\d", p.phone) for p in people)
    assert all(p.street.endswith("Test St") for p in people)
    assert any(not (p.family + p.given).isascii() for p in people)
    assert all(p.birth_on.replace(year=p.birth_on.year + 21) < TODAY for p in people)


def test_npis_have_a_right_check_digit() -> None:
    dice = random.Random(3)

    numbers = [synthetic.npi(dice) for _ in range(50)]

    assert all(synthetic.is_npi(number) for number in numbers)
    assert all(synthetic.is_npi(partner.npi) for partner in synthetic.PARTNERS.values())
    assert synthetic.is_npi("1234567893")
    assert not synthetic.is_npi("1234567890")
    assert not synthetic.is_npi("123")


def test_the_demo_has_the_services_and_outcomes_it_promises() -> None:
    services = {e.service for e in CAST}
    ends = {e.expected_end for e in CAST}

    assert len(CAST) >= 27
    assert {
        "ecm",
        "housing-transition-navigation",
        "medically-tailored-meals",
        "recuperative-care",
        "personal-care-homemaker",
        "asthma-remediation",
        "sobering-centers",
        "doula",
    } <= services
    assert {
        "services-received",
        "unable-to-reach",
        "member-declined",
        "no-longer-eligible",
        "authorization-denied",
        "provider-declined",
        "open",
    } <= ends
    assert sum(e.is_closed_loop and e.expected_end != "open" for e in CAST) >= 20
    assert {e.channel for e in CAST} == {"fhir", "file"}
    assert sum(e.expected_end == "open" for e in CAST) == 1


def test_the_notices_end_as_each_case_demands() -> None:
    assert one(service="sobering-centers").notices_end == "none"
    assert one(service="doula").expected_notices == ()
    assert one(requester="member").notices_end == "none"
    assert one(requester="late-start-clinic").notices_end == "withheld"
    assert one(requester="unregistered").notices_end == "escalated"
    assert Counter(e.notices_end for e in CAST)["confirmed"] >= 20


def test_the_outage_referral_passes_three_states_after_its_assignment() -> None:
    outage = one(is_outage=True)

    assert outage.identifier == "R-0001"
    assert outage.requester == "river-clinic"
    assert outage.expected_notices == (
        "authorization-decided",
        "provider-assigned",
        "status-changed/accepted",
        "status-changed/outreach-initiated",
        "loop-closed",
    )


def test_a_presumptive_start_is_denied_later() -> None:
    entry = one(plot="presumptive-denied")

    assert [(s["act"], s.get("status"), s.get("basis")) for s in entry.steps] == [
        ("decide", "pending", "presumptive"),
        ("assign", None, None),
        ("decide", "denied", "prior"),
    ]
    assert entry.service == "ecm"
    assert entry.expected_end == "authorization-denied"
    assert entry.expected_notices[-2:] == ("authorization-decided", "loop-closed")


def test_a_declined_referral_is_assigned_again() -> None:
    entry = one(plot="reassigned", service="ecm")

    assert [r.status for r in entry.reports] == ["declined", "accepted", "loop-closed"]
    assert [r.provider for r in entry.reports] == ["harbor-ecm", "hearth-homes", "hearth-homes"]
    assert entry.provider == "hearth-homes"
    assert entry.expected_notices.count("provider-assigned") == 2


@pytest.mark.parametrize("days_between", [0, 2])
def test_nothing_is_dated_in_the_future_or_before_the_referral(days_between: int) -> None:
    for entry in synthetic.cast(1, today=TODAY, days_between=days_between):
        dates = [date.fromisoformat(step["on"]) for step in entry.steps]
        dates += [report.on for report in entry.reports]

        assert entry.referred_on < min(dates)
        assert max(dates) <= TODAY


def test_plan_acts_are_in_odd_rounds_and_reports_in_even_ones() -> None:
    assert {s["round"] % 2 for e in CAST for s in e.steps} == {1}
    assert {r.round % 2 for e in CAST for r in e.reports} == {0}
    assert one(is_outage=True).steps_in(3) == []
    assert json.loads(json.dumps(synthetic.plan_script(CAST)))["R-0001"][0]["act"] == "decide"


@pytest.mark.parametrize("entry", CAST, ids=lambda e: e.identifier)
def test_each_referral_is_a_bundle_that_fhir_resources_takes(entry: CastEntry) -> None:
    bundle = synthetic.referral_bundle(entry)

    Bundle.model_validate(copy.deepcopy(bundle))
    patient, request, task = (e["resource"] for e in bundle["entry"])
    assert [e["request"]["url"] for e in bundle["entry"]] == ["Patient", "ServiceRequest", "Task"]
    assert task["focus"]["reference"] == bundle["entry"][1]["fullUrl"]
    assert task["for"] == request["subject"] == {"reference": bundle["entry"][0]["fullUrl"]}
    assert task["owner"] == {"reference": "Organization/golden-plan"}
    assert patient["identifier"][0]["value"] == entry.member.cin
    assert request["code"]["coding"][0]["code"] == entry.service
    assert bundle == synthetic.referral_bundle(entry)


def test_who_asks_is_said_in_the_way_of_each_requester() -> None:
    def asked(entry: CastEntry, **ids: str) -> tuple[dict[str, object], dict[str, object]]:
        entries = synthetic.referral_bundle(entry, organization_ids=ids)["entry"]
        return entries[1]["resource"]["requester"], entries[2]["resource"]["requester"]

    registered = asked(one(is_outage=True), **{"river-clinic": "o-7"})
    self_referral = asked(one(requester="member"))
    unregistered = asked(one(requester="unregistered"))

    assert registered == ({"reference": "Organization/o-7"}, {"reference": "Organization/o-7"})
    assert str(self_referral[0]["reference"]).startswith("urn:uuid:")
    assert self_referral[1] == {"reference": "Organization/golden-plan"}
    assert unregistered[1]["display"] == "Walk-in Test Clinic"
    assert "reference" not in unregistered[1]


def test_reports_become_rows_of_the_right_file() -> None:
    rounds = [synthetic.rtf_rows(CAST, round_=n, produced_on=TODAY) for n in (2, 4, 6)]

    first = rounds[0]["ecm"][0]
    assert sum(len(rows) for r in rounds for rows in r.values()) == sum(
        len(e.reports) for e in CAST
    )
    assert first["Referral Status"] == "Accepted"
    assert first["Date of Referral Status Update"] == "11/21/2026"
    assert first["ECM Provider National Provider Identifier (NPI)"] == (
        synthetic.PARTNERS["harbor-ecm"].npi
    )
    meals = next(r for r in rounds[2]["cs"] if r["HCPCS Code"] == "S5170")
    assert meals["Modifiers"] == "U6"
    assert meals["Reason for Referral Loop Closure"] == "Services Received"
    for files in rounds:
        for kind, rows in files.items():
            rtf_bytes(kind, rows)


def test_stray_rows_are_of_people_outside_the_cast() -> None:
    stray = synthetic.stray_rows(1, today=TODAY)

    cins = {row["Member Client Index Number (CIN)"] for _, row in stray}
    assert cins.isdisjoint(e.member.cin for e in CAST)
    assert [fate for fate, _ in stray] == ["kept", "review", "rejected", "rejected"]
    rtf_bytes("ecm", [row for _, row in stray])
