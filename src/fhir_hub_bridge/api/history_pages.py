"""Pages of a history: what `_since` and `_count` ask for, the link to the next, the entries.

Before: `interactions.history_*`. https://hl7.org/fhir/R4/http.html#history
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from fhir_hub_bridge.api.answers import answer
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.api.cursor import PARAMETER, read_moment, write_moment
from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir.bundle import DeletedVersion, HistoryVersion, history_bundle
from fhir_hub_bridge.fhir.codec import format_instant
from fhir_hub_bridge.fhir.dates import search_span
from fhir_hub_bridge.store.resource_history import Moment, Versions
from fhir_hub_bridge.store.resources import Stored

PAGE_DEFAULT: Final = 50
PAGE_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which page of a history is asked for."""

    limit: int
    since: datetime | None
    before: Moment | None


def wanted_page(call: Call) -> Wanted:
    """What the address asks for. Raises ResourceRejected (400) for what cannot be read."""
    given = call.request.query_params
    count, since = given.get("_count"), given.get("_since")
    if count is not None and not re.fullmatch(r"[0-9]{1,9}", count):
        raise _refused("_count", "_count is a number.")
    span = search_span(since) if since is not None else None
    if since is not None and span is None:
        raise _refused("_since", "_since is an instant, such as 2026-11-20T12:00:00Z.")
    return Wanted(
        limit=min(int(count or PAGE_DEFAULT) or PAGE_DEFAULT, PAGE_MOST),
        since=span[0] if span else None,
        before=read_moment(given[PARAMETER]) if PARAMETER in given else None,
    )


def history_answer(call: Call, versions: Versions, *, path: str) -> Response:
    """200 with one page of the history at this path below the base."""
    given = call.request.query_params
    kept = [(name, given[name]) for name in ("_since", "_count") if name in given]
    address, end = f"{call.base}{path}", versions.end
    bundle = history_bundle(
        map(_version, versions.found),
        base=call.base,
        total=versions.total,
        self_url=_link(address, kept),
        next_url=_link(address, [*kept, (PARAMETER, write_moment(end))]) if end else None,
    )
    return answer(bundle)


def _version(stored: Stored) -> HistoryVersion | DeletedVersion:
    if stored.is_deletion:
        at = format_instant(stored.last_updated)
        return DeletedVersion(stored.type, stored.id, stored.version, at)
    status = "201 Created" if stored.version == 1 else "200 OK"
    return HistoryVersion(stored.parsed(), method=stored.method, status=status)


def _link(address: str, pairs: list[tuple[str, str]]) -> str:
    return f"{address}?{urlencode(pairs)}" if pairs else address


def _refused(name: str, message: str) -> ResourceRejected:
    return ResourceRejected(issues=[Issue(name, message, code="value", rule="search-parameter")])
