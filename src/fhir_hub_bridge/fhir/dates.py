"""FHIR's dates and instants: the standard's own regular expressions first, then a real calendar.

Inside, an instant is an aware UTC datetime and a possibly partial date is the days it names.
https://hl7.org/fhir/R4/datatypes.html#dateTime
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NoReturn

from fhir_hub_bridge.errors import Issue, ResourceRejected


@dataclass(frozen=True, slots=True)
class DateSpan:
    """The days that a possibly partial FHIR date names: 2026-02 is the 1st to the 28th."""

    first: date
    last: date


def parse_instant(text: str, *, place: str = "") -> datetime:
    """Read a FHIR instant, or a dateTime that has a time, as an aware UTC datetime.

    Fractions beyond the microsecond are cut; a leap second is the second after it.
    Raises ResourceRejected (code `value`) at `place`.
    """
    if not isinstance(text, str) or not _INSTANT.fullmatch(text):
        _refuse(place, "instant", "This is not an instant with date, time and time zone.")
    leap = text[17:19] == "60"
    try:
        moment = datetime.fromisoformat(f"{text[:17]}59{text[19:]}" if leap else text)
        return moment.astimezone(UTC) + timedelta(seconds=1 if leap else 0)
    except (ValueError, OverflowError):
        _refuse(place, "instant", "This instant does not exist in the calendar.")


def parse_date(text: str, *, place: str = "") -> DateSpan:
    """Read a FHIR date: YYYY, YYYY-MM or YYYY-MM-DD; of a full date both ends are that day.

    Raises ResourceRejected (code `value`) at `place`.
    """
    if not isinstance(text, str) or not _DATE.fullmatch(text):
        _refuse(place, "date", "This is not a date of the form YYYY, YYYY-MM or YYYY-MM-DD.")
    year, month, day = (int(part or 0) for part in (text[:4], text[5:7], text[8:10]))
    first_month, last_month = (month, month) if month else (1, 12)
    try:
        first = date(year, first_month, day or 1)
        return DateSpan(first, date(year, last_month, day or monthrange(year, last_month)[1]))
    except ValueError:
        _refuse(place, "date", "This date does not exist in the calendar.")


def search_span(text: str) -> tuple[datetime, datetime] | None:
    """Read a search's date or dateTime as the half-open UTC interval it names; None if it is none.

    2026-02 is the whole month, 10:30 the whole minute, 10:30:05.12 ten milliseconds. Without a
    time zone, and for bare dates, UTC is meant.
    """
    try:
        if "T" not in text:
            days = parse_date(text)
            return _midnight(days.first), _after(_midnight(days.last), timedelta(days=1))
        if not (match := _SEARCH_INSTANT.fullmatch(text)):
            return None
        start = datetime.fromisoformat(text)
        start = start.astimezone(UTC) if match["zone"] else start.replace(tzinfo=UTC)
    except (ResourceRejected, ValueError, OverflowError):
        return None
    if not match["seconds"]:
        return start, _after(start, timedelta(minutes=1))
    digits = len(match["fraction"] or ".") - 1
    return start, _after(start, timedelta(microseconds=10 ** max(0, 6 - digits)))


def format_instant(moment: datetime) -> str:
    """Write an aware datetime as a FHIR instant in UTC, to the millisecond (cut, not rounded)."""
    if moment.tzinfo is None:
        raise ValueError("An instant needs a time zone.")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_YEAR: Final = r"(?!0000)[0-9]{4}"
_DATE: Final = re.compile(rf"{_YEAR}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?)?")
_INSTANT: Final = re.compile(
    rf"{_YEAR}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
    r"(Z|[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
)
_SEARCH_INSTANT: Final = re.compile(
    rf"{_YEAR}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]"
    r"(?P<seconds>:[0-5][0-9](?P<fraction>\.[0-9]+)?)?"
    r"(?P<zone>Z|[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00))?"
)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _after(moment: datetime, width: timedelta) -> datetime:
    try:
        return moment + width
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _refuse(place: str, rule: str, message: str) -> NoReturn:
    raise ResourceRejected(issues=[Issue(place, message, code="value", rule=rule)])
