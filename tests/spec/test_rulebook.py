"""The program's papers as rows: what is in scope since when, what is due, how sure we are."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from tests.layout_rows import MAPPINGS, shipped_catalog

from fhir_hub_bridge.errors import UnmappedCode
from fhir_hub_bridge.mapping.catalog import load_catalog
from fhir_hub_bridge.mapping.holiday_table import california_holidays
from fhir_hub_bridge.referral.deadlines import due_at, is_business_day
from fhir_hub_bridge.referral.model import NoticeType, ReferralStatus
from fhir_hub_bridge.referral.rulebook import BillingCode, Citation

RULEBOOK = shipped_catalog().rulebook
FIRST_DAY = date(2025, 7, 1)
"""Closed-loop duties begin (DHCS Closed-Loop Referral FAQs)."""


def test_ecm_and_fifteen_community_supports_are_carried() -> None:
    programs = [service.program for service in RULEBOOK.services.values()]

    assert programs.count("ecm") == 1
    assert programs.count("community-supports") == 15


def test_all_but_sobering_centers_are_in_scope_from_the_first_day() -> None:
    outside = {
        code
        for code, service in RULEBOOK.services.items()
        if not service.is_clr_applicable(FIRST_DAY)
    }

    assert outside == {"sobering-centers", "community-health-worker", "doula"}


def test_nothing_is_in_scope_the_day_before() -> None:
    day_before = FIRST_DAY - timedelta(days=1)

    assert not any(service.is_clr_applicable(day_before) for service in RULEBOOK.services.values())


def test_each_service_in_scope_has_a_billing_code() -> None:
    without = {code for code, service in RULEBOOK.services.items() if not service.billing_codes}

    assert without == {"community-health-worker", "doula"}


@pytest.mark.parametrize(
    ("hcpcs", "modifier", "service"),
    [
        ("H0044", "U2", "housing-deposits"),
        ("H0044", "U3", "short-term-post-hospitalization-housing"),
        ("H0044", "U5", "community-or-home-transition"),
        ("H0044", "U6", "transitional-rent"),
        ("S5165", "U5", "asthma-remediation"),
        ("S5165", "U6", "environmental-accessibility-adaptations"),
        ("T2038", "U4", "assisted-living-transitions"),
        ("T2038", "U5", "community-or-home-transition"),
    ],
)
def test_code_and_modifier_together_decide_the_service(
    hcpcs: str, modifier: str, service: str
) -> None:
    meant = shipped_catalog().service_by_billing_code[BillingCode(hcpcs, (modifier,))]

    assert meant == service


def test_a_future_service_comes_into_scope_by_data_alone(tmp_path: Path) -> None:
    folder = shutil.copytree(MAPPINGS, tmp_path / "mappings")
    with (folder / "codes/services.csv").open("a") as services:
        services.write(
            "peer-support,Peer Support,other,2027-01-01,,sdoh-category-unspecified,"
            "Made up for this test,unverified\n"
        )
    with (folder / "codes/service-codes.csv").open("a") as codes:
        codes.write("peer-support,H0038,U9,no,Made up for this test,unverified\n")

    catalog = load_catalog(folder)

    service = catalog.rulebook.service("peer-support")
    assert not service.is_clr_applicable(date(2026, 12, 31))
    assert service.is_clr_applicable(date(2027, 1, 1))
    assert catalog.service_by_billing_code[BillingCode("H0038", ("U9",))] == "peer-support"


def test_nine_populations_of_focus_are_carried() -> None:
    with (MAPPINGS / "codes/populations-of-focus.csv").open(newline="") as file:
        numbers = {row["number"][0] for row in csv.DictReader(file)}

    assert numbers == set("123456789")
    assert len(RULEBOOK.populations_of_focus) == 11  # the first one has two halves


def test_a_denial_needs_a_reason_and_closes_the_loop() -> None:
    denied = RULEBOOK.authorization_status("denied")

    assert denied.decided
    assert denied.reason_required
    assert not denied.authorizes
    assert not RULEBOOK.closure_reason(denied.closes_with).served


def test_only_approvals_authorize_and_waiting_is_no_decision() -> None:
    statuses = RULEBOOK.authorization_statuses.values()

    assert {row.code for row in statuses if row.authorizes} == {"approved", "approved-modified"}
    assert {row.code for row in statuses if not row.decided} == {"pending", "deferred"}


def test_services_start_before_a_decision_only_where_none_is_awaited() -> None:
    before = {basis for basis, starts in RULEBOOK.authorization_bases.items() if starts}

    assert before == {"presumptive", "retroactive", "not-required"}
    assert not RULEBOOK.starts_before_decision("prior")


def test_a_provider_who_cannot_take_the_person_does_not_close_the_loop() -> None:
    not_the_providers = {
        code for code, reason in RULEBOOK.closure_reasons.items() if not reason.provider_closes_loop
    }

    assert not_the_providers == {"provider-declined", "authorization-denied", "referral-withdrawn"}


def test_only_services_received_counts_as_served_and_only_other_needs_words() -> None:
    reasons = RULEBOOK.closure_reasons.values()

    assert [reason.label for reason in reasons if reason.served] == ["Services Received"]
    assert [reason.label for reason in reasons if reason.text_required] == ["Other"]


@pytest.mark.parametrize("notice", list(NoticeType))
def test_every_notice_type_has_a_rule_on_the_first_day(notice: NoticeType) -> None:
    assert RULEBOOK.notice_rule(notice, FIRST_DAY).notice is notice


@pytest.mark.parametrize("layout", sorted(shipped_catalog().layouts))
@pytest.mark.parametrize("status", list(ReferralStatus))
def test_every_status_is_spelled_in_every_layout(layout: str, status: ReferralStatus) -> None:
    assert status in shipped_catalog().layout(layout).statuses.values()


def test_day_counts_are_labelled_as_this_projects_choice() -> None:
    labels = {rule.citation.confidence for rule in RULEBOOK.notice_rules}

    assert labels == {"project-default"}
    assert all("Project default" in rule.citation.source for rule in RULEBOOK.notice_rules)


def test_every_row_names_its_source() -> None:
    assert all(citation.source for citation in _citations())


def test_a_later_row_overrides_an_earlier_one_from_its_day_on(tmp_path: Path) -> None:
    folder = shutil.copytree(MAPPINGS, tmp_path / "mappings")
    with (folder / "programs/calaim.toml").open("a") as program:
        program.write(
            '\n[[notice]]\nid = "loop-closed-2027"\nnotice = "loop-closed"\nwithin = 3\n'
            'unit = "business-days"\nclock_starts = "learned_at"\nvalid_from = 2027-03-01\n'
            'source = "Made-up letter"\nconfidence = "verified"\n'
        )

    rulebook = load_catalog(folder).rulebook

    assert rulebook.notice_rule(NoticeType.LOOP_CLOSED, date(2027, 2, 28)).within == 5
    assert rulebook.notice_rule(NoticeType.LOOP_CLOSED, date(2027, 3, 1)).within == 3


def test_a_code_that_no_table_knows_is_never_given_a_default() -> None:
    with pytest.raises(UnmappedCode, match="No service has this code"):
        RULEBOOK.service("massage")
    with pytest.raises(UnmappedCode):
        RULEBOOK.closure_reason("done")
    with pytest.raises(UnmappedCode):
        RULEBOOK.authorization_status("maybe")
    with pytest.raises(UnmappedCode):
        RULEBOOK.starts_before_decision("hope")
    with pytest.raises(UnmappedCode):
        RULEBOOK.notice_rule(NoticeType.LOOP_CLOSED, date(2020, 1, 1))


@pytest.mark.parametrize("year", range(2024, 2036))
def test_offices_are_closed_on_the_days_of_government_code_19853(year: int) -> None:
    days = (date(year, 1, 1) + timedelta(days=n) for n in range(366))
    workdays = [day for day in days if day.year == year and day.isoweekday() < 6]

    closed = {day for day in workdays if not is_business_day(day, RULEBOOK.calendar)}

    assert closed == _government_code_19853(year) & set(workdays)


def test_the_shipped_holiday_table_is_the_holidays_packages() -> None:
    with (MAPPINGS / "calendars/us-ca.csv").open(newline="") as file:
        shipped = {(row["date"], row["name"]) for row in csv.DictReader(file)}

    listed = california_holidays(range(2024, 2036))

    assert shipped == {
        (str(day), name)
        for day, names in listed.items()
        if 2024 <= day.year <= 2035
        for name in names
    }


def test_thanksgiving_week_moves_a_closure_notice_to_the_next_week() -> None:
    monday_noon = datetime(2026, 11, 23, 20, tzinfo=UTC)
    rule = RULEBOOK.notice_rule(NoticeType.LOOP_CLOSED, date(2026, 11, 23))

    due = due_at(monday_noon, within=rule.within, unit=rule.unit, calendar=RULEBOOK.calendar)

    assert due == datetime(2026, 12, 3, 1, tzinfo=UTC)  # Wednesday 2 December 17:00 in California


def _government_code_19853(year: int) -> set[date]:
    """California Government Code 19853(a) and (b), reckoned without any table."""
    fixed = [date(year, month, day) for month, day in ((1, 1), (3, 31), (7, 4), (11, 11), (12, 25))]
    closed = set(fixed)
    closed |= {day + timedelta(days=1) for day in fixed if day.isoweekday() == 7}
    closed |= {day - timedelta(days=1) for day in fixed if day.month == 11 if day.isoweekday() == 6}
    thanksgiving = _nth(year, 11, weekday=4, n=4)
    return closed | {
        _nth(year, 1, weekday=1, n=3),
        _nth(year, 2, weekday=1, n=3),
        _nth(year, 6, weekday=1, n=1) - timedelta(days=7),
        _nth(year, 9, weekday=1, n=1),
        thanksgiving,
        thanksgiving + timedelta(days=1),
    }


def _nth(year: int, month: int, *, weekday: int, n: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.isoweekday()) % 7 + 7 * (n - 1))


def _citations() -> Iterator[Citation]:
    tables = (
        RULEBOOK.services,
        RULEBOOK.authorization_statuses,
        RULEBOOK.closure_reasons,
        RULEBOOK.suppressions,
        shipped_catalog().layouts,
    )
    for table in tables:
        for row in table.values():
            assert "citation" in {field.name for field in fields(row)}
            yield row.citation
