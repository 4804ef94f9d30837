"""FHIR's dates: the standard's forms only, and only days that exist."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_hub_bridge.errors import ResourceRejected
from fhir_hub_bridge.fhir.codec import DateSpan, format_instant, parse_date, parse_instant
from fhir_hub_bridge.fhir.dates import search_span


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-02T09:00:05-08:00", datetime(2026, 3, 2, 17, 0, 5, tzinfo=UTC)),
        ("2026-03-02T09:00:05.123Z", datetime(2026, 3, 2, 9, 0, 5, 123000, tzinfo=UTC)),
        ("2026-03-02T09:00:05.1234567Z", datetime(2026, 3, 2, 9, 0, 5, 123456, tzinfo=UTC)),
        ("2024-02-29T00:00:00+14:00", datetime(2024, 2, 28, 10, 0, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
    ],
)
def test_instant_is_read_as_utc(text: str, expected: datetime) -> None:
    moment = parse_instant(text)

    assert moment == expected
    assert moment.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        *("2026-02-30T00:00:00Z", "2026-03-02T24:00:00Z", "2026-03-02T09:00:05", "2026-03-02"),
        *("2026-03-02 09:00:05Z", "2026-03-02T09:00Z", "20260302T090005Z", "0000-01-01T00:00:00Z"),
        *("2026-03-02T09:00:05+14:01", "2026-W10-1T00:00:00Z", "0001-01-01T00:00:00+14:00"),
        *("2026-03-02T09:00:05Z\n", "٢٠٢٦-03-02T09:00:05Z", "2026-03-02T09:00:05,5Z", ""),
    ],
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(ResourceRejected) as caught:
        parse_instant(text, place="Task.authoredOn")

    (issue,) = caught.value.issues
    assert (issue.place, issue.code, issue.rule) == ("Task.authoredOn", "value", "instant")
    assert not text or text not in issue.message


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026-02-27", date(2026, 2, 27), date(2026, 2, 27)),
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("2026-12", date(2026, 12, 1), date(2026, 12, 31)),
        ("2026", date(2026, 1, 1), date(2026, 12, 31)),
        ("9999", date(9999, 1, 1), date(9999, 12, 31)),
    ],
)
def test_date_names_its_days(text: str, first: date, last: date) -> None:
    assert parse_date(text) == DateSpan(first, last)


@pytest.mark.parametrize("text", ["2026-02-30", "2026-13", "26", "2026-2-3", "2026-02-", "0000"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ResourceRejected):
        parse_date(text)


@given(st.datetimes(timezones=st.just(UTC)) | st.datetimes(timezones=st.timezones()))
def test_written_instant_reads_back_to_the_millisecond(moment: datetime) -> None:
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        return

    back = parse_instant(format_instant(moment))

    assert timedelta(0) <= moment - back < timedelta(milliseconds=1)


def test_instant_without_a_zone_is_not_written() -> None:
    with pytest.raises(ValueError, match="time zone"):
        format_instant(datetime(2026, 1, 1))  # noqa: DTZ001


def test_instant_of_another_zone_is_written_in_utc() -> None:
    moment = datetime(2026, 3, 2, 9, 0, 5, 999999, tzinfo=timezone(timedelta(hours=-8)))

    assert format_instant(moment) == "2026-03-02T17:00:05.999Z"


@pytest.mark.parametrize(
    ("text", "start", "width"),
    [
        ("2026-02", datetime(2026, 2, 1, tzinfo=UTC), timedelta(days=28)),
        ("2026-02-03", datetime(2026, 2, 3, tzinfo=UTC), timedelta(days=1)),
        ("2026-02-03T10:30", datetime(2026, 2, 3, 10, 30, tzinfo=UTC), timedelta(minutes=1)),
        ("2026-02-03T10:30-08:00", datetime(2026, 2, 3, 18, 30, tzinfo=UTC), timedelta(minutes=1)),
        ("2026-02-03T10:30:05Z", datetime(2026, 2, 3, 10, 30, 5, tzinfo=UTC), timedelta(seconds=1)),
        (
            "2026-02-03T10:30:05.12Z",
            datetime(2026, 2, 3, 10, 30, 5, 120000, tzinfo=UTC),
            timedelta(milliseconds=10),
        ),
    ],
)
def test_searched_date_is_a_half_open_interval(
    text: str, start: datetime, width: timedelta
) -> None:
    assert search_span(text) == (start, start + width)


def test_end_of_time_is_no_accident() -> None:
    span = search_span("9999")

    assert span is not None
    assert span[1] == datetime.max.replace(tzinfo=UTC)
    assert search_span("2026-02-30") is None
    assert search_span("2026-02-03T10:30:05 08:00") is None
