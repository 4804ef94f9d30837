"""Instants as people in California read them, always with their zone."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

_PACIFIC: Final = ZoneInfo("America/Los_Angeles")


def moment(at: datetime) -> str:
    """Date and time of day, with the zone."""
    local = at.astimezone(_PACIFIC)
    hour = local.hour % 12 or 12
    half = "am" if local.hour < 12 else "pm"
    # No line break inside the time: only no-break spaces.
    return f"{local:%b} {local.day}, {local.year}, {hour}:{local:%M}\xa0{half}\xa0{local:%Z}"


def clock(at: datetime) -> str:
    """The time of day alone, with seconds and zone."""
    local = at.astimezone(_PACIFIC)
    hour = local.hour % 12 or 12
    return f"{hour}:{local:%M:%S} {'am' if local.hour < 12 else 'pm'} {local:%Z}"


def day(at: datetime) -> str:
    """The local day of an instant."""
    local = at.astimezone(_PACIFIC)
    return f"{local:%A, %B} {local.day}, {local.year}"


def local_date(at: datetime) -> date:
    """The date it is in California."""
    return at.astimezone(_PACIFIC).date()
