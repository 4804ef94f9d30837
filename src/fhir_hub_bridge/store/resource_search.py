"""A search as SQL: keys first, by index and in order, then the bodies of one page.

Pages go by the place of the last row seen, so the thousandth costs what the first did.
Before: `fhir.search`, which says what is asked. https://hl7.org/fhir/R4/search.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, exists, func, select

from fhir_hub_bridge.fhir.search import Filter, Query
from fhir_hub_bridge.store.resources import Stored, stored_of
from fhir_hub_bridge.store.search_conditions import same_resource
from fhir_hub_bridge.store.search_includes import NOTHING, Included, included
from fhir_hub_bridge.store.search_order import Place, after, is_by_time, terms_of
from fhir_hub_bridge.store.search_sources import source_of
from fhir_hub_bridge.store.tables import resource

__all__ = ["Page", "Place", "count", "search"]


@dataclass(frozen=True, slots=True)
class Page:
    """The matches of one page in order, whether more follow, how many match in all if counted."""

    matches: tuple[Stored, ...]
    more: bool
    total: int | None = None
    included: Included = NOTHING

    @property
    def end(self) -> Place | None:
        """The place after which the next page begins; None when nothing follows."""
        if not (self.more and self.matches):
            return None
        last = self.matches[-1]
        return Place(last.last_updated, last.id, last.version)


def search(
    conn: Connection,
    query: Query,
    *,
    limit: int,
    place: Place | None = None,
    within: Sequence[Filter] = (),
    counted: bool = False,
    sent_by: str | None = None,
) -> Page:
    """At most `limit` current versions that match, newest first unless the query sorts otherwise.

    `place` is where the page before ended; `within` are filters of which one must match, as those
    of a compartment are; with `sent_by` only what this party sent is found. One statement (keys,
    then bodies), so `read` will do; `needs_snapshot` says when there are more. Raises
    ResourceRejected for a place that never was.
    """
    source = source_of(query, within=within, by_time=is_by_time(query.sort))
    terms = terms_of(query.sort, source)
    key = [source.of.c[name] for name in ("bucket", "type", "id")]
    sorted_by = [term.by.label(f"by_{number}") for number, term in enumerate(terms)]
    keys = source.select(*key, *sorted_by)
    if sent_by is not None:
        sent = resource.alias()
        own = exists().where(same_resource(sent, source.of), sent.c.source == sent_by)
        keys = keys.where(own.correlate(source.of))
    if place is not None:
        keys = keys.where(after(conn, place, type_=query.type, sort=query.sort, terms=terms))
    order = [term.directed(column) for term, column in zip(terms, sorted_by, strict=True)]
    found = keys.order_by(*order).limit(limit + 1).subquery()
    order = [term.directed(found.c[by.name]) for term, by in zip(terms, sorted_by, strict=True)]
    bodies = select(*_BODY).join(found, same_resource(resource, found)).order_by(*order)
    rows = conn.execute(bodies).mappings().all()
    matches = tuple(stored_of(row) for row in rows[:limit])
    return Page(
        matches,
        more=len(rows) > limit,
        total=count(conn, query, within=within) if counted else None,
        included=included(conn, query.includes, matches),
    )


def needs_snapshot(query: Query, *, counted: bool, place: Place | None) -> bool:
    """Whether `search` takes several statements, which should see one state."""
    again = place is not None and not is_by_time(query.sort)
    return counted or again or bool(query.includes)


def count(conn: Connection, query: Query, *, within: Sequence[Filter] = ()) -> int:
    """How many current versions match."""
    matching = source_of(query, within=within, by_time=False).select(func.count())
    found: int = conn.execute(matching).scalar_one()
    return found


_BODY = tuple(
    resource.c[name]
    for name in ("type", "id", "version", "last_updated", "body", "source", "referral_id")
)
