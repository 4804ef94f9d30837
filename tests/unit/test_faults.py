from __future__ import annotations

from collections.abc import Iterator

import pytest

from fhir_hub_bridge import faults


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    faults.disarm()


def test_a_point_does_nothing_unless_armed() -> None:
    for point in faults.POINTS:
        faults.fault(point)


def test_an_armed_point_acts_and_the_others_do_not() -> None:
    passed: list[str] = []
    faults.arm("K8", lambda: passed.append("K8"))

    for point in faults.POINTS:
        faults.fault(point)

    assert passed == ["K8"]


def test_an_unknown_point_cannot_be_armed() -> None:
    with pytest.raises(KeyError):
        faults.arm("K99", lambda: None)
