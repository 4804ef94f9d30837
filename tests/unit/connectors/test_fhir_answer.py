from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_hub_bridge.connectors.fhir_answer import BODY_LIMIT, read_answer
from fhir_hub_bridge.connectors.interface import Accepted, Answer, Refused, Unavailable

NOW = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)


def read(
    status: int,
    body: Any = b"",
    *,
    media_type: str = "application/fhir+json",
    retry_after: str = "",
) -> Answer:
    data = body if isinstance(body, bytes | None) else orjson.dumps(body)
    return read_answer(status, data, media_type=media_type, retry_after=retry_after, now=NOW)


def an_outcome(severity: str, code: str = "processing") -> dict[str, Any]:
    issue = {"severity": severity, "code": code, "diagnostics": "Alma Sample, born 1990-01-01"}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def a_transaction_response(*statuses: str, outcome: Any = None) -> dict[str, Any]:
    entries = [{"response": {"status": status}} for status in statuses]
    if outcome is not None:
        entries[-1]["response"]["outcome"] = outcome
    return {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_2xx_without_a_body_is_accepted(status: int) -> None:
    assert read(status) == Accepted(status)


@pytest.mark.parametrize(
    "body",
    [
        b"ok",
        b"{",
        b"[" * 2000,
        b"\xff\xfe\x00",
        [],
        {"resourceType": "Bundle", "entry": "none"},
        {"resourceType": "Bundle", "entry": [None, 3, {"response": []}]},
        {"resourceType": "OperationOutcome", "issue": [7, {"severity": 3}]},
        an_outcome("information"),
        an_outcome("warning"),
        a_transaction_response("200 OK", "201 Created"),
    ],
)
def test_a_2xx_stands_unless_its_body_takes_it_back(body: Any) -> None:
    assert read(200, body) == Accepted(200)


@pytest.mark.parametrize("severity", ["error", "fatal"])
def test_an_outcome_of_severity_error_in_a_2xx_is_a_refusal(severity: str) -> None:
    answer = read(200, an_outcome(severity, "business-rule"))

    assert answer == Refused(f"HTTP 200, but an OperationOutcome: {severity} business-rule", 200)


def test_a_refused_entry_of_a_transaction_is_a_refusal() -> None:
    answer = read(200, a_transaction_response("200", "422 Unprocessable"))

    assert answer == Refused("HTTP 200, but entry 2 answered 422", 200)


def test_an_error_in_an_entry_is_a_refusal() -> None:
    answer = read(200, a_transaction_response("201", outcome=an_outcome("error", "required")))

    assert answer == Refused(
        "HTTP 200, but entry 1 has an OperationOutcome: error required", status=200
    )


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"<!DOCTYPE html><title>Log in</title>", "text/plain"),
        (b"\n <html><body>Blocked</body></html>", ""),
        (b"Please log in", "text/html; charset=utf-8"),
    ],
)
def test_a_web_page_is_no_proof_that_anybody_was_told(body: bytes, media_type: str) -> None:
    answer = read(200, body, media_type=media_type)

    assert answer == Refused("HTTP 200, but a web page and no FHIR", status=200)


def test_an_answer_too_large_to_be_read_is_a_refusal() -> None:
    answer = read(200, None)

    assert answer == Refused(f"HTTP 200, but more than {BODY_LIMIT} bytes of answer", status=200)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_a_server_in_trouble_has_not_refused(status: int) -> None:
    assert read(status, an_outcome("fatal")) == Unavailable(f"HTTP {status}", status)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 412, 413, 415, 422])
def test_another_4xx_is_a_refusal(status: int) -> None:
    assert read(status, an_outcome("error")) == Refused(f"HTTP {status}", status)


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
def test_a_redirect_is_a_refusal(status: int) -> None:
    assert read(status) == Refused(f"HTTP {status}: redirects are not followed", status)


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("9" * 5000, 86400),
        ("Mon, 23 Nov 2026 18:02:00 GMT", 120),
        ("Monday, 23-Nov-26 18:02:00 GMT", 120),
        ("Mon, 23 Nov 2026 18:02:00 -0000", 120),
        ("Mon, 23 Nov 2020 18:02:00 GMT", 0),
    ],
)
def test_retry_after_is_read_in_both_forms(text: str, wish: int) -> None:
    answer = read(503, retry_after=text)

    assert answer == Unavailable("HTTP 503", 503, timedelta(seconds=wish))


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5", "٣", "Mon, 99 Nov 2026 18:02:00 GMT"])
def test_a_retry_after_that_says_nothing_is_ignored(text: str) -> None:
    assert read(503, retry_after=text) == Unavailable("HTTP 503", 503, None)


def test_no_answer_repeats_what_the_partner_wrote() -> None:
    wrongs = [an_outcome("error", "Alma Sample"), a_transaction_response("Alma Sample")]

    details = " ".join(read(200, wrong).detail for wrong in wrongs)

    assert "Alma" not in details


@given(st.integers(100, 599), st.binary(max_size=200), st.text(max_size=40), st.text(max_size=40))
def test_whatever_comes_back_is_one_of_three_answers(
    status: int, body: bytes, media_type: str, retry_after: str
) -> None:
    answer = read_answer(status, body, media_type=media_type, retry_after=retry_after, now=NOW)

    assert isinstance(answer, Accepted | Refused | Unavailable)
    assert not isinstance(answer, Accepted) or 200 <= status < 300
