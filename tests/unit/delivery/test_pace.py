from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fhir_hub_bridge.delivery.pace import Pace
from fhir_hub_bridge.errors import BadSetting

SECOND = timedelta(seconds=1)


def test_a_lease_as_short_as_an_attempt_is_refused() -> None:
    with pytest.raises(BadSetting, match="lease"):
        Pace(schedule=(SECOND,), lease=30 * SECOND, deadline=30 * SECOND)


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": ()},
        {"schedule": (timedelta(0), SECOND)},
        {"schedule": (2 * SECOND, SECOND)},
        {"schedule": (SECOND,), "batch": 0},
        {"schedule": (SECOND,), "partner_concurrency": 0},
    ],
)
def test_a_pace_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSetting):
        Pace(**wrong)
