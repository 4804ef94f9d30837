"""The calendar of a program: a table of holidays, without days removed and with days added.

The shipped table was made from the `holidays` package; it is a file, so that no due moment shifts
with a release of that package. Before: the `[calendar]` of `programs/calaim.toml`. After:
`referral.deadlines` counts by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fhir_hub_bridge.errors import Issue
from fhir_hub_bridge.mapping.data_files import MappingFolder, Settings, TableRow
from fhir_hub_bridge.referral.deadlines import Calendar

_CALIFORNIA = "calendars/us-ca.csv"


def read_calendar(row: Settings) -> tuple[Calendar, str]:
    """The calendar, and the name of the holiday table it was made from."""
    row.keys(
        *("zone", "opens", "closes", "holidays", "covers_from", "covers_to", "removed", "added"),
        *("source", "confidence"),
    )
    row.citation()
    table = f"calendars/{row.text('holidays')}.csv"
    covers_from, covers_to = row.day("covers_from"), row.day("covers_to")
    days = frozenset(day for day in _holidays(row, table) if covers_from <= day <= covers_to)
    if not set(range(covers_from.year, covers_to.year + 1)) <= {day.year for day in days}:
        row.problem("covers_to", f"{table} has no holiday in some year between these days.")
    opens, closes = row.time("opens"), row.time("closes")
    if not opens < closes:
        row.problem("closes", "Closes before it opens.")
    zone = _zone(row)
    said = (zone, opens, closes, covers_from, covers_to, *sorted(days))
    return (
        Calendar(
            zone=zone,
            holidays=days,
            opens=opens,
            closes=closes,
            covers_from=covers_from,
            covers_to=covers_to,
            version=hashlib.sha256(" ".join(map(str, said)).encode()).hexdigest()[:16],
        ),
        table,
    )


def california_holidays(years: Iterable[int]) -> dict[date, tuple[str, ...]]:
    """Holidays of the United States and California, as the `holidays` package lists them."""
    import holidays  # slow to import, and needed only to check the shipped table

    listed = holidays.country_holidays("US", subdiv="CA", years=set(years), language="en_US")
    return {day: tuple(names.split("; ")) for day, names in sorted(listed.items())}


def differences_from_package(folder: MappingFolder, calendar: Calendar) -> list[Issue]:
    """Where the table of California's holidays and the `holidays` package differ, if both exist.

    Informational: either may be right, and days that the program removes count on neither side.
    """
    if not (folder.root / _CALIFORNIA).exists():
        return []
    years = range(calendar.covers_from.year, calendar.covers_to.year + 1)
    ours = {(str(row.day("date")), row.text("name")) for row in _table(folder, _CALIFORNIA)}
    theirs = {
        (str(day), name)
        for day, names in california_holidays(years).items()
        if day.year in years
        for name in names
    }
    return [
        Issue(
            place=f"{_CALIFORNIA}, {day}",
            message=f"Only {'the table' if (day, name) in ours else 'the package'} has '{name}'.",
            code="informational",
            rule="holidays-differ",
        )
        for day, name in sorted(ours ^ theirs)
    ]


def _holidays(row: Settings, table: str) -> set[date]:
    """The table's days without those removed, and with those added."""
    names: dict[date, set[str]] = {}
    for line in _table(row.folder, table):
        line.citation()
        if day := line.day("date"):
            names.setdefault(day, set()).add(line.text("name"))
    for removed in row.parts("removed"):
        removed.keys("name", "date", "source", "confidence")
        removed.citation()
        if "date" in removed.values:
            known = names.pop(removed.day("date"), None) is not None
        else:
            name = removed.text("name")
            known = any(name in found for found in names.values())
            names = {day: found - {name} for day, found in names.items() if found != {name}}
        if not known:
            removed.problem("date" if "date" in removed.values else "name", "No such holiday.")
    for added in row.parts("added"):
        added.keys("name", "date", "source", "confidence")
        added.citation()
        names.setdefault(added.day("date"), set()).add(added.text("name"))
    return set(names)


def _table(folder: MappingFolder, table: str) -> list[TableRow]:
    return folder.table(table, ("date", "name", "source", "confidence"))


def _zone(row: Settings) -> str:
    zone = row.text("zone")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        row.problem("zone", "Not an IANA time zone.")
        return "UTC"
    return zone
