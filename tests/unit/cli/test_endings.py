"""What an error becomes: a sentence, an exit code, and never a word about a member."""

from __future__ import annotations

import inspect
import json

import pytest

from fhir_hub_bridge import errors
from fhir_hub_bridge.cli.endings import EXIT_CODES, ended, told
from fhir_hub_bridge.errors import (
    BadSetting,
    BridgeError,
    Issue,
    Rejected,
    RuleBroken,
    StoreBusy,
    Unknown,
)

EVERY_ERROR = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BridgeError)
]


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_every_error_has_one_of_the_exit_codes(kind: type[BridgeError]) -> None:
    code = next(code for family, code in EXIT_CODES if issubclass(kind, family))

    assert code in (1, 2)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Rejected("The header does not fit."), 1),
        (RuleBroken("wrong-party", "You may not decide."), 1),
        (Unknown("There is no referral with this id."), 1),
        (BadSetting("A setting is wrong."), 2),
        (StoreBusy(), 2),
    ],
)
def test_an_error_is_its_sentence_on_standard_error(
    error: BridgeError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(error) == code

    said = capsys.readouterr()
    assert said.err == f"{error}\n"
    assert said.out == ""


def test_issues_are_listed_without_the_offending_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    issues = [
        Issue(f"row {n}, column CIN", f"Fault {n}.", rule="cin", value="91234567A")
        for n in range(1, 31)
    ]

    told(Rejected("30 faults.", issues), as_json=True)

    said = capsys.readouterr()
    assert "row 1, column CIN: Fault 1." in said.err
    assert "and 10 more" in said.err
    assert len(json.loads(said.out)["issues"]) == 30
    assert "91234567A" not in said.err + said.out


def test_a_fault_of_ours_is_named_by_class_and_place_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        _ = {}["Testina Example"]
    except KeyError as error:
        code = ended(error)

    said = capsys.readouterr().err
    assert code == 2
    assert "KeyError at test_endings.py:" in said
    assert "Testina" not in said
