"""Due moments: a table of the days that go wrong, and laws against a plain second reckoning."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_hub_bridge.errors import BadMapping, Rejected
from fhir_hub_bridge.referral.deadlines import (
    Calendar,
    DueUnit,
    due_at,
    is_business_day,
    local_date,
)

PACIFIC = ZoneInfo("America/Los_Angeles")
HOLIDAYS = frozenset(
    {
        date(2024, 1, 1),
        date(2026, 1, 1),
        date(2026, 11, 26),  # Thanksgiving
        date(2026, 11, 27),  # the day after
        date(2026, 12, 25),
        date(2027, 1, 1),
    }
)
CALENDAR = Calendar(
    zone="America/Los_Angeles",
    holidays=HOLIDAYS,
    opens=time(8),
    closes=time(17),
    covers_from=date(2024, 1, 1),
    covers_to=date(2027, 12, 31),
    version="made-up",
)
INSTANTS = st.datetimes(
    datetime(2024, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
    datetime(2027, 6, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, PACIFIC, timezone(timedelta(hours=14))]),
)
COUNTS = st.integers(1, 30)


def pacific(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=PACIFIC)


@pytest.mark.parametrize(
    ("started", "within", "expected"),
    [
        ("2026-11-18T12:00", 2, "2026-11-20T17:00"),  # Wednesday to Friday
        ("2026-11-20T12:00", 2, "2026-11-24T17:00"),  # over a weekend
        ("2026-11-21T23:59", 1, "2026-11-23T17:00"),  # begun on a Saturday
        ("2026-11-25T16:59", 1, "2026-11-30T17:00"),  # Thanksgiving and the day after
        ("2026-11-26T10:00", 2, "2026-12-01T17:00"),  # begun on a holiday
        ("2026-12-31T09:00", 1, "2027-01-04T17:00"),  # year end, New Year's Day on a Friday
        ("2024-02-28T09:00", 1, "2024-02-29T17:00"),  # 29 February
        ("2024-02-29T09:00", 2, "2024-03-04T17:00"),
        ("2026-03-06T12:00", 2, "2026-03-10T17:00"),  # clocks go forward on 8 March
        ("2026-10-30T12:00", 2, "2026-11-03T17:00"),  # and back on 1 November
    ],
)
def test_business_days_end_at_closing_time_of_the_nth_open_day(
    started: str, within: int, expected: str
) -> None:
    due = due_at(pacific(started), within=within, unit="business-days", calendar=CALENDAR)

    assert due == pacific(expected)
    assert due.tzinfo is UTC


def test_day_zero_is_the_local_date_not_the_utc_one() -> None:
    # 1 December 03:00 UTC is still 30 November in California.
    started = datetime(2026, 12, 1, 3, tzinfo=UTC)

    due = due_at(started, within=2, unit="business-days", calendar=CALENDAR)

    assert local_date(started, CALENDAR) == date(2026, 11, 30)
    assert due == pacific("2026-12-02T17:00")


@pytest.mark.parametrize(
    ("day", "utc_hour"),
    [(date(2026, 3, 7), 1), (date(2026, 3, 8), 0), (date(2026, 10, 31), 0), (date(2026, 11, 1), 1)],
)
def test_closing_time_keeps_its_wall_clock_when_clocks_change(day: date, utc_hour: int) -> None:
    due = due_at(day - timedelta(days=1), within=1, unit="calendar-days", calendar=CALENDAR)

    assert due == datetime.combine(day + timedelta(days=1), time(utc_hour), UTC)


def test_both_folds_of_the_doubled_hour_are_one_date() -> None:
    first = datetime(2026, 11, 1, 1, 30, tzinfo=PACIFIC, fold=0)

    dates = {local_date(first.replace(fold=fold), CALENDAR) for fold in (0, 1)}

    assert dates == {date(2026, 11, 1)}


@pytest.mark.parametrize(
    ("started", "within", "expected"),
    [
        ("2026-11-18T09:15", 4, "2026-11-18T13:15"),
        ("2026-11-18T16:00", 2, "2026-11-19T09:00"),  # the rest falls on the next day
        ("2026-11-18T08:00", 9, "2026-11-18T17:00"),  # exactly one open day
        ("2026-11-18T06:00", 1, "2026-11-18T09:00"),  # before opening
        ("2026-11-18T20:00", 1, "2026-11-19T09:00"),  # after closing
        ("2026-11-25T16:30", 1, "2026-11-30T08:30"),  # over Thanksgiving
        ("2026-11-21T12:00", 10, "2026-11-24T09:00"),  # begun on a Saturday
        ("2026-03-06T16:00", 2, "2026-03-09T09:00"),  # clocks go forward in between
    ],
)
def test_business_hours_count_only_open_time(started: str, within: int, expected: str) -> None:
    due = due_at(pacific(started), within=within, unit="business-hours", calendar=CALENDAR)

    assert due == pacific(expected)


def test_hours_from_a_date_alone_count_from_opening_time() -> None:
    due = due_at(date(2026, 11, 18), within=3, unit="business-hours", calendar=CALENDAR)

    assert due == pacific("2026-11-18T11:00")


@given(INSTANTS, COUNTS)
def test_business_days_agree_with_a_plain_reckoning(started: datetime, within: int) -> None:
    due = due_at(started, within=within, unit="business-days", calendar=CALENDAR)

    day = started.astimezone(PACIFIC).date()
    open_days = [
        later
        for later in (day + timedelta(days=n) for n in range(1, 80))
        if later.isoweekday() not in (6, 7) and later not in HOLIDAYS
    ]
    assert due == datetime.combine(open_days[within - 1], time(17), PACIFIC)


@given(INSTANTS, COUNTS)
def test_calendar_days_agree_with_a_plain_reckoning(started: datetime, within: int) -> None:
    due = due_at(started, within=within, unit="calendar-days", calendar=CALENDAR)

    day = started.astimezone(PACIFIC).date() + timedelta(days=within)
    assert due == datetime.combine(day, time(17), PACIFIC)


@given(INSTANTS, COUNTS)
def test_business_hours_agree_with_counting_open_minutes(started: datetime, within: int) -> None:
    started = started.replace(second=0, microsecond=0)

    due = due_at(started, within=within, unit="business-hours", calendar=CALENDAR)

    assert _open_minutes(started, due) == within * 60


@given(INSTANTS, COUNTS, st.sampled_from(["business-days", "calendar-days", "business-hours"]))
def test_a_due_moment_lies_after_its_start_and_grows_with_the_number(
    started: datetime, within: int, unit: DueUnit
) -> None:
    due = due_at(started, within=within, unit=unit, calendar=CALENDAR)

    assert due > started
    assert due < due_at(started, within=within + 1, unit=unit, calendar=CALENDAR)
    assert due == due_at(started.astimezone(UTC), within=within, unit=unit, calendar=CALENDAR)


def test_a_holiday_more_makes_due_later_never_sooner() -> None:
    started = pacific("2026-11-18T12:00")
    plain = due_at(started, within=2, unit="business-days", calendar=CALENDAR)
    more = Calendar(
        zone=CALENDAR.zone,
        holidays=HOLIDAYS | {date(2026, 11, 19)},
        opens=CALENDAR.opens,
        closes=CALENDAR.closes,
        covers_from=CALENDAR.covers_from,
        covers_to=CALENDAR.covers_to,
        version="one more",
    )

    later = due_at(started, within=2, unit="business-days", calendar=more)

    assert (plain, later) == (pacific("2026-11-20T17:00"), pacific("2026-11-23T17:00"))


def test_a_day_beyond_the_holiday_table_is_refused_and_named() -> None:
    with pytest.raises(BadMapping, match="ends on 2027-12-31; add the years up to 2028"):
        due_at(date(2027, 12, 30), within=3, unit="business-days", calendar=CALENDAR)


def test_a_day_before_the_holiday_table_is_refused() -> None:
    with pytest.raises(Rejected, match="begins on 2024-01-01"):
        due_at(date(2023, 12, 29), within=3, unit="business-hours", calendar=CALENDAR)
    with pytest.raises(Rejected):
        is_business_day(date(2023, 12, 29), CALENDAR)


def test_calendar_days_need_no_holiday_table() -> None:
    due = due_at(date(2030, 1, 1), within=1, unit="calendar-days", calendar=CALENDAR)

    assert due == pacific("2030-01-02T17:00")


def test_a_time_without_zone_and_a_number_below_one_are_programming_errors() -> None:
    naive = datetime(2026, 11, 18, 12)  # noqa: DTZ001 - that is the fault

    with pytest.raises(ValueError, match="time zone"):
        due_at(naive, within=1, unit="business-days", calendar=CALENDAR)
    with pytest.raises(ValueError, match="at least one"):
        due_at(date(2026, 11, 18), within=0, unit="business-days", calendar=CALENDAR)


def _open_minutes(start: datetime, end: datetime) -> int:
    """Minutes between two instants in which the office is open, day by day on the wall clock."""
    begin = start.astimezone(PACIFIC).replace(tzinfo=None)
    finish = end.astimezone(PACIFIC).replace(tzinfo=None)
    day, minutes = begin.date(), timedelta()
    while day <= finish.date():
        if day.isoweekday() < 6 and day not in HOLIDAYS:
            opened = max(begin, datetime.combine(day, time(8)))
            closed = min(finish, datetime.combine(day, time(17)))
            minutes += max(closed - opened, timedelta())
        day += timedelta(days=1)
    return minutes // timedelta(minutes=1)
