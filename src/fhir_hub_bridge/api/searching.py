"""A search asked and answered, of a whole type or of a patient's compartment.

Before: the interactions. After: `store.resource_search` finds, `fhir.bundle` writes.
https://hl7.org/fhir/R4/search.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.responses import Response

from fhir_hub_bridge.api.answers import answer
from fhir_hub_bridge.api.bodies import read_form
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.api.cursor import PARAMETER, read_place, write_place
from fhir_hub_bridge.api.media_types import check_format
from fhir_hub_bridge.api.preconditions import is_strict
from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir.bundle import searchset
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.outcome import operation_outcome
from fhir_hub_bridge.fhir.search import Filter, Query, parse_query
from fhir_hub_bridge.fhir.summary import summarised
from fhir_hub_bridge.store import resource_search
from fhir_hub_bridge.store.resource_search import Page

PAGE_DEFAULT: Final = 20
PAGE_MOST: Final = 200


async def answer_search(call: Call, *, path: str, within: Sequence[Filter] = ()) -> Response:
    """200 with a searchset Bundle: one page, and a link to the next below our `path`.

    `within` are filters of which one must match. Unknown parameters are ignored with a warning,
    or refused under `Prefer: handling=strict`. The total is told when asked for, or when it costs
    nothing. The links of a search by form repeat what its address said, never what its form did:
    the same form is to be sent to the next page.
    """
    pairs = await _pairs(call)
    asked = [(name, value) for name, value in pairs if name != PARAMETER]
    place = next((read_place(value) for name, value in pairs if name == PARAMETER), None)
    query = parse_query(call.type, asked, bases=(call.base, call.bridge.settings.base_url))
    check_format(call.request, query.format)
    if query.unknown and is_strict(call.request):
        raise ResourceRejected(issues=_unknown(query))
    store = call.bridge.store
    if query.summary == "count" or query.count == 0:
        total = await store.read(resource_search.count, query, within=within)
        page = Page((), more=False, total=total)
    else:
        counted = query.total in ("accurate", "estimate")
        several = resource_search.needs_snapshot(query, counted=counted, place=place)
        page = await (store.read_snapshot if several else store.read)(
            resource_search.search,
            query,
            limit=_limit(query),
            place=place,
            within=within,
            counted=counted,
        )
    return answer(_bundle(call, query, page, path=path, first=place is None))


async def _pairs(call: Call) -> list[tuple[str, str]]:
    """What is asked by the address and, of a POST, by the form."""
    pairs = call.request.query_params.multi_items()
    if call.request.method == "POST":
        pairs += await read_form(call.request)
    if any("\0" in text for pair in pairs for text in pair):
        raise HTTPException(400, "A search parameter holds a character that no text may hold.")
    return pairs


def _bundle(call: Call, query: Query, page: Page, *, path: str, first: bool) -> Json:
    total = page.total
    if total is None and first and not page.more:
        total = len(page.matches)
    address, shown = f"{call.base}/{path}", query.applied
    if call.request.method == "POST":
        # What came in a form may be a member's data: links end in logs.
        address += "/_search"
        in_address = call.request.query_params.multi_items()
        shown = tuple(pair for pair in shown if pair in in_address)
    applied = [
        (name, str(_limit(query)) if name == "_count" and query.count else value)
        for name, value in shown
    ]
    more = [*applied, (PARAMETER, write_place(page.end))] if page.end else []
    warnings = [*_unknown(query), *_cut(page)]
    return searchset(
        (summarised(s.parsed(), query.summary, query.elements) for s in page.matches),
        base=call.base,
        total=total,
        self_url=_link(address, applied),
        next_url=_link(address, more) if more else None,
        included=(summarised(s.parsed(), query.summary) for s in page.included.resources),
        outcome=operation_outcome(warnings, severity="warning") if warnings else None,
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


def _cut(page: Page) -> list[Issue]:
    if not page.included.cut:
        return []
    message = "More resources would be included than one answer holds; ask for a smaller page."
    return [Issue("", message, code="too-costly", rule="search-include")]
