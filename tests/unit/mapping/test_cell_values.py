"""Single cells: what is read, what is refused, what is never repeated."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_hub_bridge.mapping.cell_values import (
    Fault,
    read_billing_code,
    read_cin,
    read_date,
    read_npi,
    read_tin,
)
from fhir_hub_bridge.mapping.layout import DateForm
from fhir_hub_bridge.referral.rulebook import BillingCode

FORMS: tuple[DateForm, ...] = (
    "MM/DD/YYYY",
    "M/D/YY",
    "MM-DD-YYYY",
    "YYYY-MM-DD",
    "YYYYMMDD",
    "excel-serial",
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("91234567A", ("91234567A", "")),
        ("91234567a", ("91234567A", "")),
        ("9123-4567 a", ("91234567A", "")),
        ("91234567A2", ("91234567A", "cin-from-card")),
        ("91234567A29180", ("91234567A", "cin-from-card")),
        ("91234567B", ("91234567B", "cin-unusual-letter")),
    ],
)
def test_a_cin_is_reduced_to_its_nine_characters(text: str, expected: tuple[str, str]) -> None:
    assert read_cin(text) == expected


@pytest.mark.parametrize(
    "text", ["81234567A", "9123456A", "91234567", "91234567AA", "91234567A291", "X", "9１234567A"]
)
def test_what_is_no_cin_is_refused(text: str) -> None:
    fault = read_cin(text)

    assert isinstance(fault, Fault)
    assert fault.rule == "cin-form"


@pytest.mark.parametrize(
    "text", ["912345678", "123-45-6789", "123 45 6789", "0123456789", "912345678A"]
)
def test_nine_digits_in_a_row_are_refused_and_never_repeated(text: str) -> None:
    fault = read_cin(text)

    assert isinstance(fault, Fault)
    assert fault.rule == "cin-nine-digits"
    assert not fault.echo


def test_a_rounded_cin_is_named_as_such_and_not_repeated() -> None:
    fault = read_cin("9.12346E+08")

    assert isinstance(fault, Fault)
    assert (fault.rule, fault.echo) == ("cin-scientific", False)


@given(st.from_regex(r"9[0-9]{7}[A-Z]", fullmatch=True), st.from_regex(r"[0-9]{5}", fullmatch=True))
def test_a_cin_reads_the_same_alone_and_from_a_card(cin: str, rest: str) -> None:
    alone, from_card = read_cin(cin), read_cin(cin.lower() + rest)

    assert not isinstance(alone, Fault)
    assert not isinstance(from_card, Fault)
    assert alone[0] == from_card[0] == cin


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1234567890", "npi-check-digit"),
        ("123456789", "npi-form"),
        ("12345678931", "npi-form"),
        ("１２３４５６７８９３", "npi-form"),
        ("1.23457E+09", "npi-scientific"),
        ("none", "npi-form"),
    ],
)
def test_what_is_no_npi_is_refused_by_its_rule(text: str, rule: str) -> None:
    fault = read_npi(text)

    assert isinstance(fault, Fault)
    assert fault.rule == rule


@given(st.from_regex(r"[12][0-9]{8}", fullmatch=True))
def test_of_ten_numbers_that_differ_in_the_last_digit_one_is_an_npi(start: str) -> None:
    read = [read_npi(f"{start}{last}") for last in range(10)]

    assert sum(isinstance(number, str) for number in read) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12-3456789", "123456789"),
        ("123456789", "123456789"),
        ("000000001", ""),
        ("00-0000001", ""),
        ("1", ""),
    ],
)
def test_a_tax_number_is_nine_digits_or_a_placeholder_for_none(text: str, expected: str) -> None:
    assert read_tin(text) == expected


@pytest.mark.parametrize("text", ["12-34567", "1234567890", "twelve"])
def test_what_is_no_tax_number_is_refused(text: str) -> None:
    assert isinstance(read_tin(text), Fault)


@pytest.mark.parametrize(
    "text",
    [
        "11/02/2026",
        "11/2/2026",
        "11/2/26",
        "11-02-2026",
        "2026-11-02",
        "20261102",
        "46328",
        "46328.0",
        "11/02/2026 00:00:00",
        "2026-11-02T00:00:00",
        "11/2/2026 12:00:00 AM",
    ],
)
def test_a_date_is_read_in_each_form_of_the_layout(text: str) -> None:
    assert read_date(text, FORMS) == date(2026, 11, 2)


@pytest.mark.parametrize(
    "text",
    [
        "13/01/2026",
        "02/29/2026",
        "2026-02-30",
        "20261301",
        "11/02",
        "2 Nov 2026",
        "0",
        "11/2/126",
        "11/02/2026 09:30",
        "4.6e4",
        "99999999",
    ],
)
def test_what_is_no_date_is_refused(text: str) -> None:
    assert isinstance(read_date(text, FORMS), Fault)


def test_a_form_that_the_layout_does_not_name_is_refused() -> None:
    assert isinstance(read_date("46328", ("MM/DD/YYYY",)), Fault)


@given(st.dates(date(2000, 1, 1), date(2099, 12, 31)))
def test_all_forms_of_one_day_read_alike(day: date) -> None:
    written = [
        f"{day:%m/%d/%Y}",
        f"{day.month}/{day.day}/{day:%y}",
        f"{day:%m-%d-%Y}",
        day.isoformat(),
        f"{day:%Y%m%d}",
        str((day - date(1899, 12, 30)) // timedelta(days=1)),
    ]

    assert {read_date(text, FORMS) for text in written} == {day}


@pytest.mark.parametrize(
    ("code", "modifiers"),
    [
        ("H0043", "U6"),
        ("H0043U6", ""),
        ("H0043-U6", ""),
        ("h0043 u6", ""),
        ("H0043:U6", "u6"),
        (" H0043 ", " U6 "),
    ],
)
def test_a_billing_code_is_read_however_it_is_joined(code: str, modifiers: str) -> None:
    assert read_billing_code(code, modifiers) == BillingCode("H0043", ("U6",))


def test_modifiers_are_read_in_any_order_and_from_both_cells() -> None:
    assert read_billing_code("T1016U8", "gq") == BillingCode("T1016", ("GQ", "U8"))
    assert read_billing_code("T1016", "U8,GQ") == read_billing_code("T1016", "GQ U8")
    assert read_billing_code("T1016U8GQ", "") == BillingCode("T1016", ("GQ", "U8"))


@pytest.mark.parametrize(
    ("code", "modifiers", "rule"),
    [
        ("43", "U6", "hcpcs-form"),
        ("H0043 and H0044", "", "modifier-form"),
        ("H0043", "U6X", "modifier-form"),
        ("H0043", "?", "modifier-form"),
    ],
)
def test_what_is_no_billing_code_is_refused(code: str, modifiers: str, rule: str) -> None:
    fault = read_billing_code(code, modifiers)

    assert isinstance(fault, Fault)
    assert fault.rule == rule
