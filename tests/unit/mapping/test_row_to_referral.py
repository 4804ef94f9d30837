"""Rows: what they say, and every fault with its cell; never a default, a referrer or a date."""

from __future__ import annotations

from datetime import date

import pytest
from tests.layout_rows import (
    ECM_PROVIDER,
    GOOD,
    TODAY,
    read_cells,
    read_cs,
    read_ecm,
    shipped_catalog,
    the_faults,
    the_update,
)

from fhir_hub_bridge.mapping.row_to_referral import read_header, read_row
from fhir_hub_bridge.referral.model import Member, Party, ReferralStatus, Report

CIN = "Member Client Index Number (CIN)"
NPI = "ECM Provider National Provider Identifier (NPI)"
TIN = "ECM Provider Tax ID Number (TIN)"
STATUS = "Referral Status"
ON = "Date of Referral Status Update"
REASON = "Reason for Referral Loop Closure"


def test_a_good_row_says_plan_member_service_provider_and_status() -> None:
    update = the_update(read_ecm())

    provider = Party(name="Example Care", npi="1234567893", tin="123456789")
    assert (update.plan_code, update.plan_name) == ("MCP000", "Example Health Plan")
    assert (update.line, update.cin, update.service) == (7, "91234567A", "ecm")
    assert update.provider == provider
    assert update.member == Member(cin="91234567A", family="Madeup", given="Marta")
    assert update.report == Report(
        status=ReferralStatus.ACCEPTED, on=date(2026, 11, 2), provider=provider
    )
    assert update.flags == ()


def test_every_cell_is_kept_as_sent() -> None:
    cells = {**GOOD, **ECM_PROVIDER, "Shoe size": " 42 "}

    reading = read_cells("rtf-ecm", cells)

    assert list(reading.cells) == list(cells.values())


def test_a_row_without_closed_loop_elements_reports_nothing() -> None:
    update = the_update(read_ecm(status="", status_on=" ", reason=""))

    assert update.report is None


@pytest.mark.parametrize(
    "spelling", ["Outreach Initiated", "OUTREACH INITIATED", " outreach  initiated "]
)
def test_a_status_is_known_in_any_case(spelling: str) -> None:
    report = the_update(read_ecm(status=spelling)).report

    assert report is not None
    assert report.status is ReferralStatus.OUTREACH_INITIATED


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ({"status": "Decline"}, (STATUS, "status-unknown")),
        ({"status": "UNKNOWN"}, (STATUS, "status-unknown")),
        ({"status_on": ""}, (ON, "status-without-date")),
        ({"status": ""}, (STATUS, "date-without-status")),
        ({"status_on": "N/A"}, (ON, "date-form")),
        ({"status_on": "11/22/2026"}, (ON, "date-in-future")),
        ({"status": "Referral Loop Closed"}, (REASON, "closed-without-reason")),
        ({"status": "Referral Loop Closed", "reason": "N/A"}, (REASON, "closed-without-reason")),
        ({"status": "Referral Loop Closed", "reason": "Done"}, (REASON, "reason-unknown")),
        ({"reason": "Services Received"}, (REASON, "reason-without-closure")),
        ({"reason": "Whatever"}, (REASON, "reason-unknown")),
        (
            {"status": "", "status_on": "", "reason": "Services Received"},
            (REASON, "reason-without-closure"),
        ),
        ({"cin": ""}, (CIN, "cin-missing")),
        ({"cin": "unk"}, (CIN, "cin-missing")),
        ({"cin": "91234"}, (CIN, "cin-form")),
        ({"plan_code": "", "plan_name": ""}, ("Primary Payer (MCP) Identifier", "plan-missing")),
        ({"npi": "1.23457E+09"}, (NPI, "npi-scientific")),
        ({"npi": "", "tin": "12"}, (TIN, "tin-form")),
        ({"birth_date": "1/2/70"}, ("Member Date of Birth", "date-form")),
        ({"birth_date": "11/22/2026"}, ("Member Date of Birth", "date-in-future")),
    ],
)
def test_a_faulty_cell_is_named_with_its_rule(
    cells: dict[str, str], fault: tuple[str, str]
) -> None:
    assert the_faults(read_ecm(**cells)) == [fault]


def test_the_offending_text_stands_in_the_issues_value_and_never_in_its_message() -> None:
    (issue,) = read_ecm(status="Sort of accepted").issues

    assert issue.value == "Sort of accepted"
    assert "Sort of" not in issue.message


def test_all_faults_of_a_row_are_found() -> None:
    reading = read_ecm(cin="", npi="12", status="Decline", status_on="12/12/26", reason="Done")

    assert the_faults(reading) == [
        (CIN, "cin-missing"),
        (NPI, "npi-form"),
        (STATUS, "status-unknown"),
        (ON, "date-in-future"),
        (REASON, "reason-unknown"),
    ]


def test_a_possible_social_security_number_is_nowhere_repeated() -> None:
    reading = read_ecm(cin="987-65-4320", status="Decline")

    assert (CIN, "cin-nine-digits") in the_faults(reading)
    assert "4320" not in repr(reading.issues)
    assert "4320" not in repr(reading.cells)
    assert "Decline" in reading.cells


@pytest.mark.parametrize("change", [-1, 1])
def test_a_row_with_other_cells_than_headings_is_refused_whole(change: int) -> None:
    layout = shipped_catalog().layout("rtf-ecm")
    header = read_header(layout, list(GOOD))
    cells = [*GOOD.values(), "surplus"][: len(GOOD) + change]

    reading = read_row(layout, header, cells, line=9, today=TODAY, catalog=shipped_catalog())

    assert reading.update is None
    assert [(issue.place, issue.rule) for issue in reading.issues] == [("row 9", "row-width")]


def test_other_takes_its_text_from_the_text_column() -> None:
    report = the_update(
        read_ecm(status="Referral Loop Closed", reason="Other", reason_text="Moved away")
    ).report

    assert report is not None
    assert (report.reason, report.text, report.plan_code) == ("other", "Moved away", "")


@pytest.mark.parametrize(
    ("cell", "text"),
    [("Other", "Other"), ("Other: moved away", "moved away"), ("other - moved away", "moved away")],
)
def test_other_without_text_column_takes_the_cells_own_words(cell: str, text: str) -> None:
    report = the_update(read_ecm(status="Referral Loop Closed", reason=cell)).report

    assert report is not None
    assert (report.reason, report.text) == ("other", text)


def test_words_after_a_reason_that_needs_none_are_not_swallowed() -> None:
    reading = read_ecm(status="Referral Loop Closed", reason="Services Received: not really")

    assert the_faults(reading) == [(REASON, "reason-unknown")]


def test_a_reason_that_says_none_is_none() -> None:
    report = the_update(read_ecm(reason="n/a")).report

    assert report is not None
    assert report.reason == ""


@pytest.mark.parametrize(
    ("cells", "flags"),
    [
        ({"cin": "91234567A29180"}, ("cin-from-card",)),
        ({"npi": ""}, ("provider-without-npi",)),
        ({"npi": "", "tin": ""}, ("provider-not-identified",)),
        ({"npi": "", "tin": "1"}, ("tin-placeholder", "provider-not-identified")),
        ({"tin": "12-34"}, ("tin-unreadable",)),
        ({"new_phone": "Y", "new_address": "yes"}, ("new-address", "new-phone")),
        ({"zip_code": "9581"}, ("postal-code-short",)),
    ],
)
def test_what_a_person_may_want_to_see_is_flagged(
    cells: dict[str, str], flags: tuple[str, ...]
) -> None:
    assert the_update(read_ecm(**cells)).flags == flags


def test_contact_data_are_tidied_and_never_made_up() -> None:
    member = the_update(
        read_ecm(
            phone="UNKNOWN",
            address=" General   Delivery ",
            state="ca",
            zip_code="958140001",
            family="Na",
            birth_date="1/2/1970",
        )
    ).member

    assert (member.phone, member.address_line) == ("", "General Delivery")
    assert (member.state, member.postal_code) == ("CA", "95814-0001")
    assert (member.family, member.birth_date) == ("Na", date(1970, 1, 2))


@pytest.mark.parametrize(
    ("cells", "service"),
    [
        ({"service": "Housing Deposits"}, "housing-deposits"),
        ({"service": "medical respite"}, "recuperative-care"),
        ({"hcpcs": "H0043", "modifiers": "U6"}, "housing-transition-navigation"),
        ({"hcpcs": "H0043", "modifiers": "U3"}, "short-term-post-hospitalization-housing"),
        ({"hcpcs": "h0043u2"}, "transitional-rent"),
        ({"hcpcs": "S5165-U5"}, "asthma-remediation"),
        ({"hcpcs": "S5165", "modifiers": "gq,u6"}, "environmental-accessibility-adaptations"),
        (
            {"service": "Housing Deposits", "hcpcs": "T1016", "modifiers": "U8,GQ"},
            "housing-deposits",
        ),
        ({"service": "Doula Services"}, "doula"),
        ({"hcpcs": "G9012U2"}, "ecm"),
    ],
)
def test_the_service_is_told_by_name_or_by_code_and_modifiers(
    cells: dict[str, str], service: str
) -> None:
    cells = {"hcpcs": "", "modifiers": "", **cells}

    assert the_update(read_cs(**cells)).service == service


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ({"service": ""}, ("Community Supports Service", "service-missing")),
        ({"service": "Massage"}, ("Community Supports Service", "service-unknown")),
        (
            {"service": "Housing Deposits, Day Habilitation"},
            ("Community Supports Service", "service-unknown"),
        ),
        (
            {"service": "Housing Deposits", "hcpcs": "H0044", "modifiers": "U3"},
            ("HCPCS Code", "service-disagrees"),
        ),
        ({"hcpcs": "H0043", "modifiers": ""}, ("HCPCS Code", "modifier-unknown")),
        ({"hcpcs": "H0043", "modifiers": "U9"}, ("Modifier", "modifier-unknown")),
        ({"hcpcs": "A0001", "modifiers": "U9"}, ("HCPCS Code", "hcpcs-unknown")),
        ({"hcpcs": "T1016", "modifiers": "U8"}, ("HCPCS Code", "service-unclear")),
        ({"hcpcs": "S5165", "modifiers": "U5 U6"}, ("HCPCS Code", "service-unclear")),
        ({"hcpcs": "housing", "modifiers": ""}, ("HCPCS Code", "hcpcs-form")),
        ({"hcpcs": "H0043", "modifiers": "U"}, ("Modifier", "modifier-form")),
    ],
)
def test_a_service_that_is_not_clear_is_never_guessed(
    cells: dict[str, str], fault: tuple[str, str]
) -> None:
    cells = {"service": "", "hcpcs": "", "modifiers": "", **cells}

    assert the_faults(read_cs(**cells)) == [fault]
