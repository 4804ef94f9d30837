"""How much of everything: reduced, so that all of it takes ten minutes at most, or full."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts; `repeats` is how many values a median is taken of, `few` where one takes long."""

    repeats: int = 5
    few: int = 3
    pure_rows: int = 4_000
    file_rows: int = 600
    again_rows: int = 6_000
    backlog: int = 2_000
    told: int = 150
    seconds: float = 2.0  # a load lasts
    stored: int = 2_000  # Tasks to read and search among
    many: int = 20_000  # Tasks that only the store is asked for


FULL = Sizes(
    pure_rows=40_000,
    file_rows=5_000,
    again_rows=50_000,
    backlog=10_000,
    told=1_000,
    seconds=10.0,
    stored=20_000,
    many=1_000_000,
)
REDUCED = Sizes()
