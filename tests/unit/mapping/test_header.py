"""Headings: found in spite of case, spaces, BOM and alias; missing or doubled ones are named."""

from __future__ import annotations

from tests.layout_rows import CS_PROVIDER, GOOD, shipped_catalog

from fhir_hub_bridge.mapping.header import read_header
from fhir_hub_bridge.mapping.layout import Field

ECM = shipped_catalog().layout("rtf-ecm")
CS = shipped_catalog().layout("rtf-cs")
HEADINGS = list(GOOD)


def test_headings_are_found_in_spite_of_case_spaces_bom_and_alias() -> None:
    cells = ["\ufeffmcp id", "CIN", " REFERRAL\n STATUS ", "referral status date"]

    header = read_header(ECM, [*cells, "Reason for Referral  Loop Closure"])

    assert header.issues == ()
    assert header.found == {
        Field.PLAN_CODE: 0,
        Field.CIN: 1,
        Field.STATUS: 2,
        Field.STATUS_ON: 3,
        Field.REASON: 4,
    }


def test_each_missing_required_column_is_named() -> None:
    header = read_header(ECM, ["MCP Name", "CIN"], line=3)

    assert [issue.place for issue in header.issues] == [
        "row 3, column Primary Payer (MCP) Identifier",
        "row 3, column Referral Status",
        "row 3, column Date of Referral Status Update",
        "row 3, column Reason for Referral Loop Closure",
    ]
    assert {issue.rule for issue in header.issues} == {"column-missing"}


def test_a_misspelt_heading_is_suggested_and_not_taken() -> None:
    header = read_header(ECM, [h.replace("Referral Status", "Refferal Status") for h in HEADINGS])

    assert Field.STATUS not in header.found
    assert "Is 'Refferal Status' meant?" in header.issues[0].message


def test_two_columns_for_one_field_are_an_issue() -> None:
    header = read_header(ECM, [*HEADINGS, "Member CIN"])

    assert [(issue.rule, issue.value) for issue in header.issues] == [
        ("column-twice", "Member CIN")
    ]


def test_unknown_columns_are_kept_and_named_but_carried_ones_are_not() -> None:
    header = read_header(ECM, [*HEADINGS, "Member POF", "Shoe size", "", "Shoe size"])

    assert header.issues == ()
    assert header.unknown == ("Shoe size", "column 11", "Shoe size (12)")


def test_a_line_with_no_known_heading_is_no_header() -> None:
    header = read_header(ECM, ["Return Transmission File", "", ""])

    assert [(issue.place, issue.rule) for issue in header.issues] == [("row 1", "header-not-found")]


def test_a_file_that_never_tells_the_service_is_refused() -> None:
    header = read_header(CS, [*GOOD, *CS_PROVIDER])

    assert [issue.place for issue in header.issues] == ["row 1, column Community Supports Service"]


def test_a_billing_code_alone_tells_the_service() -> None:
    assert read_header(CS, [*GOOD, *CS_PROVIDER, "HCPCS"]).issues == ()
