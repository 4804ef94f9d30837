from __future__ import annotations

import pytest

from fhir_hub_bridge.sandbox.faults import Faults, FaultSyntaxError, parse_fault


class HandClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_fault_is_read_with_all_its_parts() -> None:
    fault = parse_fault("answer=503 retry-after=2s for=1m times=3 on=Task id=N-7")

    assert (fault.kind, fault.value, fault.status) == ("answer", "503", 503)
    assert (fault.lasts_seconds, fault.times, fault.retry_after_seconds) == (60.0, 3, 2)
    assert (fault.on, fault.identifier) == ("Task", "N-7")


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("25s", 25.0), ("1.5m", 90.0), ("1h", 3600.0), ("7", 7.0)]
)
def test_a_duration_has_a_unit_or_is_seconds(text: str, seconds: float) -> None:
    assert parse_fault(f"answer=lost for={text}").lasts_seconds == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "503",
        "for=25s",
        "answer=",
        "answer=200",
        "answer=999",
        "answer=maybe",
        "answer=503 for=soon",
        "answer=503 times=few",
        "answer=503 answer=504",
        "answer=503 until=noon",
        "ack=503",
        "act=lost",
    ],
)
def test_what_is_no_fault_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(FaultSyntaxError, match=r"\w+ "):
        parse_fault(text)


def test_a_fault_ends_when_its_time_is_over() -> None:
    clock = HandClock()
    faults = Faults(["answer=503 for=25s"], clock=clock)

    clock.now += 24.9
    during = faults.take("answer")
    clock.now += 0.2
    after = faults.take("answer")

    assert during is not None
    assert after is None
    assert faults.listed() == []


def test_a_fault_ends_when_its_times_are_used_up() -> None:
    faults = Faults(["answer=lost times=2"])

    taken = [faults.take("answer") for _ in range(3)]

    assert [t is not None for t in taken] == [True, True, False]


def test_a_fault_strikes_only_what_it_is_about() -> None:
    faults = Faults(["answer=503 on=task times=1", "answer=504 id=N-7"])

    other = faults.take("answer", types={"Communication"}, identifiers={"N-1"})
    by_type = faults.take("answer", types={"Communication", "Task"}, identifiers={"N-1"})
    by_id = faults.take("answer", types={"Communication"}, identifiers={"N-7"})

    assert other is None
    assert by_type is not None
    assert by_type.status == 503
    assert by_id is not None
    assert by_id.status == 504
    assert faults.take("ack") is None


def test_faults_can_be_taken_away() -> None:
    faults = Faults(["answer=503"])

    faults.stop_all()

    assert faults.take("answer") is None
