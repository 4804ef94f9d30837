"""Options of the journeys."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills",
        type=int,
        default=2,
        help="how often a worker is killed at each point of sending, per database (full: 20)",
    )
