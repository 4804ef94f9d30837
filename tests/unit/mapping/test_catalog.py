"""The mappings folder: complete as shipped, and each fault of a changed one is named."""

from __future__ import annotations

import json
import shutil
import time
import tomllib
from datetime import date
from pathlib import Path

import pytest
from tests.layout_rows import MAPPINGS, shipped_catalog

from fhir_hub_bridge.errors import BadMapping, BadSetting
from fhir_hub_bridge.mapping.catalog import check, load_catalog
from fhir_hub_bridge.mapping.layout import Field
from fhir_hub_bridge.referral.rulebook import BillingCode

FAULTS = tomllib.loads(Path(__file__).with_name("mapping_faults.toml").read_text())["fault"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped folder, to be changed."""
    return shutil.copytree(MAPPINGS, tmp_path / "mappings")


def change(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_shipped_folder_has_no_fault() -> None:
    assert check(MAPPINGS) == []


def test_the_shipped_folder_is_loaded_fast() -> None:
    start = time.process_time()

    load_catalog(MAPPINGS)

    assert time.process_time() - start < 0.15


def test_an_unknown_layout_is_named_beside_the_known_ones() -> None:
    with pytest.raises(BadSetting, match=r"'rtf-x'; known are: rtf-cs, rtf-ecm"):
        shipped_catalog().layout("rtf-x")


def test_a_billing_code_means_a_service_only_with_its_modifiers() -> None:
    catalog = shipped_catalog()

    assert catalog.service_by_billing_code[BillingCode("H0044", ("U2",))] == "housing-deposits"
    assert BillingCode("T1016", ("U8",)) not in catalog.service_by_billing_code
    assert catalog.services_billed_as(BillingCode("H0044", ())) == frozenset()


def test_a_changed_file_changes_the_version(folder: Path) -> None:
    change(folder, "codes/services.csv", "Housing Deposits", "Housing Deposit")

    changed = load_catalog(folder)

    assert changed.version != shipped_catalog().version
    assert changed.rulebook.version != shipped_catalog().rulebook.version
    assert changed.rulebook.calendar == shipped_catalog().rulebook.calendar


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault['file']}: {fault['told']}")
def test_a_fault_is_named_with_its_file_and_place(folder: Path, fault: dict[str, str]) -> None:
    change(folder, fault["file"], fault["old"], fault["new"])

    with pytest.raises(BadMapping) as error:
        load_catalog(folder)

    assert fault["told"] in str(error.value)


def test_all_faults_are_told_at_once(folder: Path) -> None:
    change(folder, "codes/services.csv", "2025-07-01", "July 2025")
    change(folder, "programs/calaim.toml", "within = 5", "within = 0")
    (folder / "codes/populations-of-focus.csv").write_bytes(b"\xff\xfe")

    issues = check(folder)

    assert {issue.place.split()[0].rstrip(",") for issue in issues} == {
        "programs/calaim.toml",
        "codes/services.csv",
        "codes/populations-of-focus.csv",
    }


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadMapping, match="does not exist"):
        load_catalog(tmp_path / "nowhere")


def test_a_holiday_table_that_differs_from_the_package_is_told_but_used(folder: Path) -> None:
    change(folder, "calendars/us-ca.csv", "2026-03-31,", "2026-03-30,")

    issues = check(folder)

    load_catalog(folder)
    assert {(issue.code, issue.rule) for issue in issues} == {("informational", "holidays-differ")}
    assert {issue.place for issue in issues} == {
        "calendars/us-ca.csv, 2026-03-30",
        "calendars/us-ca.csv, 2026-03-31",
    }


def test_a_plan_adds_a_holiday_of_its_own_with_its_source(folder: Path) -> None:
    with (folder / "programs/calaim.toml").open("a") as program:
        program.write(
            '\n[[calendar.added]]\nname = "Founders Day"\ndate = 2026-10-12\n'
            'source = "Plan calendar"\nconfidence = "verified"\n'
        )

    calendar = load_catalog(folder).rulebook.calendar

    assert date(2026, 10, 12) in calendar.holidays
    assert calendar.version != shipped_catalog().rulebook.calendar.version


def test_a_plans_own_layout_needs_only_files(folder: Path) -> None:
    shutil.copytree(folder / "hubs/rtf-ecm", folder / "hubs/example-plan")
    change(folder, "hubs/example-plan/layout.toml", 'name = "rtf-ecm"', 'name = "example-plan"')
    with (folder / "hubs/example-plan/codes/referral-status.csv").open("a") as spellings:
        spellings.write("Taken on,accepted,Plan's companion guide,secondary\n")

    layout = load_catalog(folder).layout("example-plan")

    assert layout.statuses["taken on"] == "accepted"


def test_editors_schemas_know_the_same_words_as_the_reader() -> None:
    layout = json.loads((MAPPINGS / "schema/layout.schema.json").read_text())
    program = json.loads((MAPPINGS / "schema/program.schema.json").read_text())
    toml = tomllib.loads((MAPPINGS / "programs/calaim.toml").read_text())

    column = layout["properties"]["column"]["items"]["properties"]
    assert set(column["field"]["enum"]) == {str(field) for field in Field}
    assert set(program["properties"]["suppression"]["required"]) == set(toml["suppression"])
    assert set(program["properties"]["notice"]["items"]["required"]) == set(toml["notice"][0])
