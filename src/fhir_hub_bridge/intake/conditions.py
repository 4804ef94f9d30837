"""Conditions of a request, settled against what is stored: which entries find their resource there.

Requests with the same condition wait for each other, so that two at once do not both create.
Before: `fhir_request`. After: `receive_fhir`. https://hl7.org/fhir/R4/http.html#cond-update
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl

from fhir_hub_bridge.errors import ConditionFailed, Issue, ResourceRejected
from fhir_hub_bridge.fhir.bundle import Entry, rewrite_references
from fhir_hub_bridge.fhir.reference import CONDITIONAL, references_in
from fhir_hub_bridge.fhir.search import Query, parse_query
from fhir_hub_bridge.store.repeats import hold_conditions
from fhir_hub_bridge.store.resource_search import search
from fhir_hub_bridge.store.resources import Stored
from fhir_hub_bridge.store.unit import Connection

MOST: Final = 500

# What one partner knows of a member is nothing to another.
_OF_ITS_SENDER: Final = ("Patient", "RelatedPerson", "Coverage", "Consent")


def settled(
    conn: Connection,
    entries: Sequence[Entry],
    *,
    bases: Collection[str],
    sender: str,
    now: datetime,
    in_bundle: bool,
) -> tuple[Entry, ...]:
    """The entries without conditions: each creates, or names the one resource that it found.

    `bases` are our own addresses. What tells of a member is found by its `sender` alone.
    A conditional create that found one has its id and no resource any more. References to it, and
    conditional references in a Bundle, are rewritten. Raises ConditionFailed (412) for several
    matches, and for a reference with none; ResourceRejected for a condition that is no search.
    """
    places = {entry.index: _place(entry) if in_bundle else "" for entry in entries}
    asked = {
        entry.index: _query(entry.type, text, bases, places[entry.index])
        for entry in entries
        if (text := entry.if_none_exist if entry.method == "POST" else entry.query)
        and entry.method in ("POST", "PUT")
    }
    references = dict(_conditional_references(entries, bases)) if in_bundle else {}
    if not asked and not references:
        return tuple(entries)
    held = [key for query in asked.values() for key in _keys(query)]
    _check_once(asked, places)
    hold_conditions(conn, held, now=now)
    found = {
        entry.index: _match(conn, asked[entry.index], places[entry.index], sender)
        for entry in entries
        if entry.index in asked
    }
    names = {
        text: _referred(conn, query, place, sender).reference
        for text, (query, place) in references.items()
    }
    for entry in entries:
        match = found.get(entry.index)
        if match is not None and entry.full_url:
            names[entry.full_url] = match.reference
    return tuple(
        _rewritten(_settled(entry, found.get(entry.index), asked=entry.index in asked), names)
        for entry in entries
    )


def _settled(entry: Entry, match: Stored | None, *, asked: bool) -> Entry:
    if not asked:
        return entry
    if entry.method == "POST":
        return entry if match is None else replace(entry, id=match.id, resource=None)
    resource = entry.resource or {}
    own = resource.get("id")
    if match is None:
        if own:
            message = "Nothing matches, and a resource's id is given by this server alone."
            issue = Issue(f"{entry.type}.id", message, code="not-supported", rule="update-create")
            raise ResourceRejected(issues=[issue])
        return replace(entry, method="POST", query=None)
    if own not in (None, match.id):
        message = "The id in the body is not that of the resource which matches."
        raise ResourceRejected(issues=[Issue(f"{entry.type}.id", message, rule="id-differs")])
    return replace(entry, id=match.id, query=None, resource={**resource, "id": match.id})


def _rewritten(entry: Entry, names: dict[str, str]) -> Entry:
    if entry.resource is None or not names:
        return entry
    return replace(entry, resource=rewrite_references(entry.resource, names))


def _query(type_: str, text: str, bases: Collection[str], place: str) -> Query:
    """The search of a condition. One that is empty, or in part unknown, would match too much."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        pairs = []
    query = parse_query(type_, pairs, bases=bases)
    if query.unknown or not query.filters:
        message = "A condition must be a search by parameters that are supported for the type."
        raise ResourceRejected(issues=[Issue(place, message, rule="search-parameter")])
    return query


def _keys(query: Query) -> list[str]:
    """What two requests with the same condition have in common: the identifiers, else all of it."""
    identifiers = [pair for pair in query.applied if pair[0] == "identifier"]
    if identifiers:
        return [f"{query.type}?identifier={value}" for _, value in identifiers]
    return [f"{query.type}?" + "&".join(sorted(f"{n}={value}" for n, value in query.applied))]


def _check_once(asked: dict[int, Query], places: dict[int, str]) -> None:
    seen: set[tuple[str, ...]] = set()
    for index, query in asked.items():
        key = tuple(sorted(_keys(query)))
        if key in seen:
            message = "Another entry has the same condition."
            raise ResourceRejected(
                issues=[Issue(places[index], message, code="structure", rule="condition-twice")]
            )
        seen.add(key)


def _match(conn: Connection, query: Query, place: str, sender: str) -> Stored | None:
    sent_by = sender if query.type in _OF_ITS_SENDER else None
    matches = search(conn, query, limit=2, sent_by=sent_by).matches
    if len(matches) > 1:
        message = "Several resources match the condition."
        issue = Issue(place, message, code="multiple-matches", rule="several-match")
        raise ConditionFailed(issues=[issue])
    return matches[0] if matches else None


def _referred(conn: Connection, query: Query, place: str, sender: str) -> Stored:
    found = _match(conn, query, place, sender)
    if found is None:
        message = "No resource matches a conditional reference."
        issue = Issue(place, message, code="not-found", rule="none-match")
        raise ConditionFailed(issues=[issue])
    return found


def _conditional_references(
    entries: Sequence[Entry], bases: Collection[str]
) -> Iterator[tuple[str, tuple[Query, str]]]:
    texts: set[str] = set()
    for entry in entries:
        for text in references_in(entry.resource or {}):
            found = CONDITIONAL.fullmatch(text)
            if found is None or text in texts:
                continue
            texts.add(text)
            place = f"Bundle.entry[{entry.index}].resource"
            yield text, (_query(found[1], found[2], bases, place), place)
    if len(texts) > MOST:
        message = f"A request may hold at most {MOST} conditional references."
        raise ResourceRejected(issues=[Issue("Bundle.entry", message, rule="bundle-size")])


def _place(entry: Entry) -> str:
    condition = "ifNoneExist" if entry.method == "POST" else "url"
    return f"Bundle.entry[{entry.index}].request.{condition}"
