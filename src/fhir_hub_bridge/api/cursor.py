"""The place where a page ended, as text in its `next` link that nobody need read.

It names a version and its time, and holds no value of a resource: links end in logs. Before:
`searching` and `history_pages`.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.store.resource_history import Moment
from fhir_hub_bridge.store.resource_search import Place

PARAMETER: Final = "_cursor"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME, _VERSION, _ID = r"([0-9]{1,17})", r"([0-9]{1,9})", r"([A-Za-z0-9.-]{1,64})"
_PLACE: Final = re.compile(rf"{_TIME}/{_VERSION}/{_ID}", re.ASCII)
_MOMENT: Final = re.compile(rf"{_TIME}/{_VERSION}/{_ID}/([A-Za-z]{{1,64}})", re.ASCII)


def write_place(place: Place) -> str:
    """The place in a search as URL-safe text."""
    return _write(place.last_updated, place.version, place.id)


def read_place(text: str) -> Place:
    """The place again. Raises ResourceRejected (400) for a text that is none of ours."""
    micros, version, id_ = _read(text, _PLACE)
    return Place(_at(micros), id_, int(version))


def write_moment(moment: Moment) -> str:
    """The place in a history as URL-safe text."""
    return _write(moment.last_updated, moment.version, moment.id, moment.type)


def read_moment(text: str) -> Moment:
    """The place again. Raises ResourceRejected (400) for a text that is none of ours."""
    micros, version, id_, type_ = _read(text, _MOMENT)
    return Moment(_at(micros), type_, id_, int(version))


def _write(at: datetime, *parts: object) -> str:
    text = "/".join(map(str, ((at - _EPOCH) // timedelta(microseconds=1), *parts)))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(text: str, form: re.Pattern[str]) -> tuple[str, ...]:
    try:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        decoded = ""
    found = form.fullmatch(decoded)
    if found is None:
        message = "This page's link cannot be read; begin again with the first page."
        issue = Issue(PARAMETER, message, code="value", rule="search-parameter")
        raise ResourceRejected(issues=[issue])
    return found.groups()


def _at(micros: str) -> datetime:
    return _EPOCH + timedelta(microseconds=int(micros))
