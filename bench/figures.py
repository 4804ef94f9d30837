"""What is measured, what it should reach, and what it is compared with."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure to beat; `beside` is the floor, the limit or another system's figure."""

    unit: str
    at_least: float | None = None
    at_most: float | None = None
    beside: str = ""

    @property
    def words(self) -> str:
        """As the table and the JSON file say it; empty where none is set."""
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""

    def is_met(self, value: float) -> bool | None:
        """Whether the value reaches it; None without a goal."""
        if self.at_least is not None:
            return value >= self.at_least
        return value <= self.at_most if self.at_most is not None else None


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `database` is sqlite, postgresql or empty."""

    name: str
    value: float
    database: str = ""

    @property
    def goal(self) -> Goal:
        """What it should reach, by database where that differs."""
        return GOALS.get(f"{self.name} ({self.database})") or GOALS[self.name]

    def as_json(self) -> dict[str, object]:
        """One entry of latest.json."""
        return {
            "name": self.name,
            "database": self.database,
            "value": round(self.value, 3),
            "unit": self.goal.unit,
            "goal": self.goal.words,
        }


_SHARED = "client and server share the cores"

GOALS = {
    "read a row (pure)": Goal("rows/s", at_least=20_000, beside="FHIRPath mapping: 470 rows/s"),
    "row to resources (pure)": Goal("rows/s", beside="read, opened, assigned, reported"),
    "rows that open a referral": Goal("rows/s", at_least=1_000, beside="policy open"),
    "rows that report on a referral": Goal("rows/s", at_least=1_000, beside="one notice a row"),
    "rows of a file sent again": Goal("rows/s", at_least=10_000, beside="nothing is stored"),
    "notices of a backlog (sqlite)": Goal(
        "notices/s", at_least=300, beside="16 at once to a 20 ms partner: at most 800"
    ),
    "notices of a backlog (postgresql)": Goal(
        "notices/s", at_least=500, beside="2 workers, 16 at once each, 20 ms partner"
    ),
    "notice, commit to told, p50": Goal("ms", at_most=15, beside="Medplum 15, loses some"),
    "notice, commit to told, p99": Goal("ms", at_most=100),
    "create a Task": Goal("requests/s", at_least=1_000, beside="floor 600; Medplum 103-118"),
    "create a Task, p99": Goal("ms", at_most=100, beside="16 connections"),
    "create a ServiceRequest": Goal(
        "requests/s", at_least=1_000, beside="floor 600; Medplum 103-118"
    ),
    "create a ServiceRequest, p99": Goal("ms", at_most=100, beside="16 connections"),
    "transaction of 4 (a referral)": Goal(
        "requests/s", at_least=350, beside="Medplum 47-69, which opens no loop"
    ),
    "transaction of 4 (a referral), p99": Goal("ms", beside="16 connections"),
    "read by id": Goal("requests/s", at_least=5_000, beside=f"Medplum 2,023; {_SHARED}"),
    "search by identifier": Goal("requests/s", at_least=3_000, beside="Medplum 1,426"),
    "search by owner and status, newest 20": Goal(
        "requests/s", at_least=1_500, beside="Medplum 690"
    ),
    "validate a Task, base R4": Goal("Tasks/s", beside="fhir.resources 2,600"),
    "validate a Task, base and profile": Goal("Tasks/s", at_least=15_000, beside="one core"),
    "many Tasks: loaded": Goal("Tasks/s", beside="resource, version and index rows"),
    "many Tasks: busiest owner, two statuses, newest 50": Goal(
        "ms", at_most=5, beside="index tables without sort key: 884"
    ),
    "many Tasks: a usual owner, newest 20": Goal("ms", at_most=5),
    "many Tasks: identifier": Goal("ms", at_most=5),
    "many Tasks: business-status, newest 20": Goal("ms", at_most=5),
    "many Tasks: a member's": Goal("ms", at_most=5),
    "--help": Goal("s", at_most=0.5),
    "serve ready": Goal("s", at_most=2, beside="Medplum 56 (first start)"),
    "memory of the largest process of the demo": Goal("MiB", at_most=200, beside="Medplum 900"),
}


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
