"""search-type: the resources of a type that match. https://hl7.org/fhir/R4/http.html#search"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from fhir_hub_bridge.api.answers import answer
from fhir_hub_bridge.api.bodies import read_form
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.api.cursor import PARAMETER, read_cursor, write_cursor
from fhir_hub_bridge.api.media_types import check_format
from fhir_hub_bridge.api.preconditions import is_strict
from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir.bundle import searchset
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.outcome import operation_outcome
from fhir_hub_bridge.fhir.search import Query, parse_query
from fhir_hub_bridge.store import resource_search
from fhir_hub_bridge.store.resource_search import Page

PAGE_DEFAULT: Final = 20
PAGE_MOST: Final = 200


async def search_type(call: Call) -> Response:
    """200 with a searchset Bundle: one page, and a link to the next.

    Unknown parameters are ignored with a warning, or refused under `Prefer: handling=strict`.
    The total is told when asked for, or when it costs nothing.
    """
    pairs = call.request.query_params.multi_items()
    if call.request.method == "POST":
        pairs += await read_form(call.request)
    asked = [(name, value) for name, value in pairs if name != PARAMETER]
    after = next((read_cursor(value) for name, value in pairs if name == PARAMETER), None)
    query = parse_query(call.type, asked, bases=(call.base, call.bridge.settings.base_url))
    check_format(call.request, query.format)
    unknown = _unknown(query)
    if unknown and is_strict(call.request):
        raise ResourceRejected(issues=unknown)
    store = call.bridge.store
    if query.summary_count or query.count == 0:
        total = await store.read(resource_search.count, query)
        return answer(_bundle(call, query, Page((), more=False, total=total), first=True))
    counted = query.total in ("accurate", "estimate")
    read = store.read_snapshot if counted else store.read
    page = await read(
        resource_search.search, query, limit=_limit(query), after=after, counted=counted
    )
    return answer(_bundle(call, query, page, first=after is None))


def _bundle(call: Call, query: Query, page: Page, *, first: bool) -> Json:
    total = page.total
    if total is None and first and not page.more:
        total = len(page.matches)
    address = f"{call.base}/{call.type}"
    applied = [
        (name, str(_limit(query)) if name == "_count" and query.count else value)
        for name, value in query.applied
    ]
    unknown = _unknown(query)
    return searchset(
        (stored.parsed() for stored in page.matches),
        base=call.base,
        total=total,
        self_url=_link(address, applied),
        next_url=_link(address, [*applied, (PARAMETER, write_cursor(page.end))])
        if page.end
        else None,
        outcome=operation_outcome(unknown, severity="warning") if unknown else None,
    )


def _limit(query: Query) -> int:
    return min(query.count or PAGE_DEFAULT, PAGE_MOST)


def _link(address: str, pairs: list[tuple[str, str]]) -> str:
    return f"{address}?{urlencode(pairs)}" if pairs else address


def _unknown(query: Query) -> list[Issue]:
    return [
        Issue(
            "",
            f"The search parameter '{name[:64]}' is not supported and was not used.",
            code="not-supported",
            rule="search-parameter",
        )
        for name in query.unknown
    ]
