"""Versions ever stored, newest first, page by page: of one resource, of a type, of all.

A page goes on from the place of the last version seen. Before: `resources`, which stores them.
https://hl7.org/fhir/R4/http.html#history
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, select, tuple_, union_all

from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.resources import Stored, history, stored_of
from fhir_hub_bridge.store.tables import resource_version

_v = resource_version.c


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a page of a history ended: the next one begins with what is older."""

    last_updated: datetime
    type: str
    id: str
    version: int


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of one page, newest first; `end` is where the next one begins, if any."""

    found: tuple[Stored, ...]
    end: Moment | None
    total: int | None = None


def history_of_one(
    conn: Connection,
    type_: str,
    id_: str,
    *,
    limit: int,
    since: datetime | None = None,
    before: Moment | None = None,
) -> Versions:
    """Versions of one resource, by their numbers. Raises Unknown where there never was one.

    The total is told where the page holds all of them.
    """
    place = before.version if before else None
    found = history(conn, type_, id_, since=since, before=place, limit=limit + 1)
    page = _page(found, limit)
    total = len(found) if since is None and before is None and page.end is None else None
    return Versions(page.found, page.end, total)


def history_of_types(
    conn: Connection,
    types: Sequence[str],
    *,
    limit: int,
    since: datetime | None = None,
    before: Moment | None = None,
) -> Versions:
    """Versions of all resources of these types, by time.

    Each type gives as many as one page holds, by its own index; the newest of these are the page.
    """
    newest = union_all(
        *(select(_newest_of(type_, since, before, limit + 1).subquery()) for type_ in types)
    ).subquery()
    order = [newest.c[name].desc() for name in ("last_updated", "type", "id", "version")]
    keys = select(newest).order_by(*order).limit(limit + 1).subquery()
    same = [keys.c[name] == _v[name] for name in ("bucket", "type", "id", "version")]
    in_order = [_v[name].desc() for name in ("last_updated", "type", "id", "version")]
    query = select(resource_version).join(keys, and_(*same)).order_by(*in_order)
    return _page([stored_of(row) for row in conn.execute(query).mappings()], limit)


def _newest_of(
    type_: str, since: datetime | None, before: Moment | None, limit: int
) -> Select[Any]:
    query = select(_v.bucket, _v.type, _v.id, _v.version, _v.last_updated).where(_v.type == type_)
    if since is not None:
        query = query.where(_v.last_updated >= to_micros(since))
    if before is not None:
        at = to_micros(before.last_updated)
        place = (at, before.type, before.id, before.version)
        # The first condition is for the index, which knows no comparison of rows across its order.
        query = query.where(
            _v.last_updated <= at,
            tuple_(_v.last_updated, _v.type, _v.id, _v.version) < tuple_(*place),
        )
    order = (_v.last_updated.desc(), _v.id.desc(), _v.version.desc())
    return query.order_by(*order).limit(limit)


def _page(found: Sequence[Stored], limit: int) -> Versions:
    kept = tuple(found[:limit])
    if len(found) <= limit:
        return Versions(kept, None)
    last = kept[-1]
    return Versions(kept, Moment(last.last_updated, last.type, last.id, last.version))
