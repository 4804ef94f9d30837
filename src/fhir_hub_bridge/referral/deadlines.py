"""Due moments: business days of the program's own zone, counted from the local date of a fact.

Day 0 is the local date of the starting fact; whatever is due in days is due at closing time.
The holidays are a table handed in, so that a due moment never shifts with a library's release.
Before: `rulebook` names number, unit and clock. After: `notices` stores the moment with its rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal, assert_never
from zoneinfo import ZoneInfo

from fhir_hub_bridge.errors import BadMapping, Rejected

DueUnit = Literal["business-days", "calendar-days", "business-hours"]

_SATURDAY = 5
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Calendar:
    """When an office is open. `version` names this very table and is kept with each due moment."""

    zone: str  # IANA name, e.g. America/Los_Angeles
    holidays: frozenset[date]
    opens: time
    closes: time
    covers_from: date  # first and last day the holidays are known for
    covers_to: date
    version: str


def local_date(instant: datetime, calendar: Calendar) -> date:
    """The date it is in the calendar's zone at this instant. Raises ValueError if it is naive."""
    return _local(instant, calendar).date()


def is_business_day(day: date, calendar: Calendar) -> bool:
    """Whether the office is open on this local date: neither weekend nor holiday.

    Raises Rejected for a day before the holiday table begins, BadMapping for one after its end.
    """
    _check_covered(day, calendar)
    return day.weekday() < _SATURDAY and day not in calendar.holidays


def due_at(started: datetime | date, *, within: int, unit: DueUnit, calendar: Calendar) -> datetime:
    """The moment (UTC) by which something is due that started at an instant or on a local date.

    1. business-days: closing time on the nth business day after the starting day.
    2. calendar-days: closing time on the nth day after it, whatever day that is.
    3. business-hours: n open hours after the instant; after opening time when only a date is known.

    Raises ValueError for a naive datetime or a number below 1; Rejected when the start lies before
    the holiday table; BadMapping when the table ends before the due moment.
    """
    if within < 1:
        raise ValueError("A due moment lies at least one unit after its start.")
    match unit:
        case "business-days":
            return _closing(
                _nth_business_day(_day_of(started, calendar), within, calendar), calendar
            )
        case "calendar-days":
            return _closing(_day_of(started, calendar) + timedelta(days=within), calendar)
        case "business-hours":
            return _after_open_hours(started, timedelta(hours=within), calendar)
        case _:
            assert_never(unit)


def _day_of(started: datetime | date, calendar: Calendar) -> date:
    return local_date(started, calendar) if isinstance(started, datetime) else started


def _nth_business_day(day: date, count: int, calendar: Calendar) -> date:
    _check_covered(day, calendar)
    while count:
        day += _ONE_DAY
        if is_business_day(day, calendar):
            count -= 1
    return day


def _after_open_hours(
    started: datetime | date, remaining: timedelta, calendar: Calendar
) -> datetime:
    # Wall-clock arithmetic is exact here: no zone changes its clocks while an office is open.
    if isinstance(started, datetime):
        wall = _local(started, calendar).replace(tzinfo=None)
    else:
        wall = datetime.combine(started, calendar.opens)
    day = wall.date()
    _check_covered(day, calendar)
    while True:
        if is_business_day(day, calendar):
            start = max(wall, datetime.combine(day, calendar.opens))
            open_for = datetime.combine(day, calendar.closes) - start
            if remaining <= open_for:
                return _instant(start + remaining, calendar)
            remaining -= max(open_for, timedelta())
        day += _ONE_DAY


def _closing(day: date, calendar: Calendar) -> datetime:
    return _instant(datetime.combine(day, calendar.closes), calendar)


def _instant(wall: datetime, calendar: Calendar) -> datetime:
    return wall.replace(tzinfo=_zone(calendar.zone)).astimezone(UTC)


def _local(instant: datetime, calendar: Calendar) -> datetime:
    if instant.tzinfo is None:
        raise ValueError("An instant needs a time zone.")
    return instant.astimezone(_zone(calendar.zone))


def _check_covered(day: date, calendar: Calendar) -> None:
    if day < calendar.covers_from:
        raise Rejected(
            f"{day} lies before the holiday table, which begins on {calendar.covers_from}; "
            "no due moment can be counted from it."
        )
    if day > calendar.covers_to:
        raise BadMapping(
            f"The holiday table ends on {calendar.covers_to}; add the years up to {day.year}."
        )


@lru_cache(maxsize=16)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
