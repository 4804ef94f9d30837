"""An update that writes a fixed element otherwise, but means the same, changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_hub_bridge.mapping.fixed_elements import names_the_same

SOURCE = "https://ehr.example/fhir/Patient/77"
STORED = {"Patient/p1": {"resourceType": "Patient", "id": "p1", "meta": {"source": SOURCE}}}
PATIENT = {"reference": "Patient/p1", "display": "Example, Testina"}
FULFILL = {"coding": [{"system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "fulfill"}]}


def same(stored: Any, sent: Any) -> bool:
    return names_the_same(stored, sent, resource=STORED.get)


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        (PATIENT, {"reference": "Patient/p1"}),
        (PATIENT, {"reference": "Patient/p1", "display": "T. Example"}),
        (PATIENT, {"reference": SOURCE}),
        ([PATIENT], [{"reference": "Patient/p1"}]),
        (FULFILL, {"coding": [{**FULFILL["coding"][0], "display": "Fulfill"}], "text": "do it"}),
        ("order", "order"),
        (None, None),
    ],
)
def test_other_words_for_the_same_change_nothing(stored: Any, sent: Any) -> None:
    assert same(stored, sent)


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        (PATIENT, {"reference": "Patient/p2", "display": PATIENT["display"]}),
        (PATIENT, {"display": PATIENT["display"]}),
        (PATIENT, None),
        (None, PATIENT),
        ([PATIENT], [PATIENT, PATIENT]),
        (FULFILL, {"coding": [{**FULFILL["coding"][0], "code": "approve"}]}),
        ("order", "plan"),
        ({"reference": "Patient/unknown"}, {"reference": SOURCE}),
    ],
)
def test_what_names_another_is_a_change(stored: Any, sent: Any) -> None:
    assert not same(stored, sent)
