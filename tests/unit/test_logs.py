"""Logs are JSON lines whose fields are on a list; nothing else comes out, whoever logs."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from fhir_hub_bridge.logs import set_up_logs


@pytest.fixture
def lines() -> Iterator[Any]:
    out = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    set_up_logs(process="worker", to=out)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def test_a_line_has_its_sentence_process_and_ids(lines: Any) -> None:
    structlog.get_logger().info("A notice was tried.", notice_id="n1", status=503)

    (line,) = lines()
    assert line["event"] == "A notice was tried."
    assert line["process"] == "worker"
    assert (line["notice_id"], line["status"], line["level"]) == ("n1", 503, "info")
    assert line["timestamp"]


def test_what_is_not_on_the_list_is_dropped(lines: Any) -> None:
    structlog.get_logger().info("Kept.", member="Testina Example", cin="91234567A", pid=7)

    (line,) = lines()
    assert line["pid"] == 7
    assert "Testina" not in json.dumps(line)
    assert "91234567A" not in json.dumps(line)


def test_values_are_plain_and_short(lines: Any) -> None:
    structlog.get_logger().info("Kept.", error="x" * 5000, at=["a.py:1"], outcome=object())

    (line,) = lines()
    assert len(line["error"]) == 200
    assert line["at"] == ["a.py:1"]
    assert line["outcome"] == "object"


def test_a_failure_is_its_class_and_places_never_its_text(lines: Any) -> None:
    try:
        int("Testina Example")
    except ValueError:
        structlog.get_logger().exception("It failed.")

    (line,) = lines()
    assert line["error"] == "ValueError"
    assert line["at"][-1].startswith("test_logs.py:")
    assert "Testina" not in json.dumps(line)


def test_a_librarys_warning_is_its_template_alone(lines: Any) -> None:
    logging.getLogger("some.library").warning("Odd answer: %s\nmore %s", "Testina", "Example")
    logging.getLogger("some.library").info("chatter")

    (line,) = lines()
    assert line["event"] == "Odd answer: %s"
    assert line["logger"] == "some.library"
    assert "Testina" not in json.dumps(line)
