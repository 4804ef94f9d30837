"""Every value of a closed set stands in every table that must know it."""

from __future__ import annotations

from typing import get_args

import pytest
from tests.builders import a_catalog, a_rulebook

from fhir_hub_bridge.fhir.definitions import codes_of
from fhir_hub_bridge.fhir.task_states import STATUSES
from fhir_hub_bridge.mapping.codings import NOTICE_LABELS, OUTPUT_LABELS, STATUS_LABELS
from fhir_hub_bridge.mapping.layout import Layout
from fhir_hub_bridge.mapping.rulebook_files import SUPPRESSIONS
from fhir_hub_bridge.mapping.status_to_task import TASK_STATUS
from fhir_hub_bridge.referral.assignment import FOLLOWS
from fhir_hub_bridge.referral.model import NoticeType, ReferralStatus
from fhir_hub_bridge.referral.rulebook import Confidence
from fhir_hub_bridge.web import words

RULEBOOK = a_rulebook()
LAYOUTS = sorted(a_catalog().layouts.values(), key=lambda layout: layout.name)
FLAGS = {
    "late",
    "out-of-order",
    "repeated",
    "after-closure",
    "after-reassignment",
    "second-closure",
    "before-authorization",
    "second-referral",
}


def test_every_referral_status_has_its_place_in_every_table() -> None:
    every = set(ReferralStatus)

    assert set(FOLLOWS) == set(STATUS_LABELS) == every
    assert {status for _, status in TASK_STATUS} == every
    assert set(words.STANDING) == set(words.REPORTED) == every


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_layout_spells_every_status_and_the_reasons_providers_give(layout: Layout) -> None:
    by_providers = {r.code for r in RULEBOOK.closure_reasons.values() if r.provider_closes_loop}

    assert set(layout.statuses.values()) == set(ReferralStatus)
    assert by_providers | {"provider-declined"} <= set(layout.reasons.values())
    assert set(layout.reasons.values()) <= {*RULEBOOK.closure_reasons, ""}
    assert set(layout.services.values()) <= set(RULEBOOK.services)


def test_every_notice_type_has_a_label_a_word_and_a_row_in_force() -> None:
    assert set(NOTICE_LABELS) == set(words.NOTICE) == set(NoticeType)
    assert {rule.notice for rule in RULEBOOK.notice_rules} == set(NoticeType)


def test_every_code_of_the_tables_has_a_word_for_people() -> None:
    assert set(RULEBOOK.closure_reasons) <= set(words.CLOSURE)
    assert set(RULEBOOK.authorization_statuses) <= set(words.DECISION)
    assert set(get_args(Confidence)) <= set(words.CONFIDENCE)
    assert set(STATUSES) <= set(words.TASK_STATUS)


def test_every_flag_of_an_event_has_a_word_for_people() -> None:
    assert set(words.FLAG) == FLAGS


def test_every_rule_that_notices_ask_for_is_in_the_rulebook() -> None:
    assert set(RULEBOOK.suppressions) == set(SUPPRESSIONS)


def test_every_task_status_is_one_of_the_standard() -> None:
    by_system = codes_of("http://hl7.org/fhir/ValueSet/task-status|4.0.1")
    assert set(STATUSES) <= set(by_system["http://hl7.org/fhir/task-status"])
    assert {reason.task_status for reason in RULEBOOK.closure_reasons.values()} <= set(STATUSES)


def test_the_outputs_that_rules_write_are_named_once() -> None:
    assert set(OUTPUT_LABELS) == {"authorization-decision", "assigned-provider"}
