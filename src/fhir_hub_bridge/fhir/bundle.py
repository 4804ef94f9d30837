"""Bundles: a transaction read into entries in processing order, and the answers written.

Reading judges the envelope only; each resource is judged by `validation`. After: `intake`, `api`.
https://hl7.org/fhir/R4/http.html#transaction, https://hl7.org/fhir/R4/bundle.html
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.reference import parse_reference, rewrite_references, unresolved

__all__ = [
    "ETAG",
    "MAX_ENTRIES",
    "ORDER",
    "DeletedVersion",
    "Entry",
    "EntryResponse",
    "HistoryVersion",
    "history_bundle",
    "read_transaction",
    "rewrite_references",
    "searchset",
    "transaction_response",
    "unresolved",
    "version_in",
]

MAX_ENTRIES: Final = 500

ORDER: Final = {"DELETE": 0, "POST": 1, "PUT": 2, "PATCH": 2, "GET": 3, "HEAD": 3}
"""The methods of entries in the order in which FHIR has them done."""

ETAG: Final = re.compile(r'(?:W/)?"([1-9][0-9]{0,8})"')
"""The ETag of a version, weak or strong."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One act of a transaction. `index` is its place in the Bundle, where its answer belongs.

    `id` is None for a create and for `query`, the search part of a conditional PUT or a GET. A POST
    without a `resource` is one that found its resource there already.
    """

    index: int
    full_url: str | None
    method: str
    type: str
    id: str | None = None
    query: str | None = None
    if_match: int | None = None
    if_none_exist: str | None = None
    resource: Json | None = None


@dataclass(frozen=True, slots=True)
class EntryResponse:
    """What became of one entry: `status` such as `201 Created`, `etag` such as `W/"1"`."""

    status: str
    location: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    resource: Json | None = None
    outcome: Json | None = None


@dataclass(frozen=True, slots=True)
class HistoryVersion:
    """One stored version: `method` and `status` are those of the request that wrote it."""

    resource: Json
    method: str
    status: str


@dataclass(frozen=True, slots=True)
class DeletedVersion:
    """The version with which a resource ended."""

    type: str
    id: str
    version: int
    at: str  # as an instant


def read_transaction(bundle: Json, *, bases: Collection[str] = ()) -> tuple[Entry, ...]:
    """Read a transaction into entries in FHIR's processing order: DELETE, POST, PUT, GET or HEAD.

    `bases` are our own absolute addresses, which a request.url may start with. Raises
    ResourceRejected with every fault of the envelope found, each at its place.
    """
    if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "transaction":
        raise _rejected([_issue("Bundle.type", "bundle-type", "A transaction Bundle is expected.")])
    rows = bundle.get("entry", [])
    if not isinstance(rows, list):
        raise _rejected([_issue("Bundle.entry", "bundle-entry", "Entries must be an array.")])
    if len(rows) > MAX_ENTRIES:
        message = f"A transaction may hold at most {MAX_ENTRIES} entries."
        raise _rejected([_issue("Bundle.entry", "bundle-size", message)])
    entries: list[Entry] = []
    issues: list[Issue] = []
    for index, row in enumerate(rows):
        try:
            entries.append(_read_entry(index, row, bases))
        except ResourceRejected as error:
            issues.extend(error.issues)
    issues.extend(_overlaps(entries))
    if issues:
        raise _rejected(issues)
    return tuple(sorted(entries, key=lambda entry: (ORDER[entry.method], entry.index)))


def version_in(etag: str) -> int | None:
    """The version that one ETag names, `W/"3"` or `"3"`; None for any other text."""
    found = ETAG.fullmatch(etag.strip())
    return int(found[1]) if found else None


def transaction_response(responses: Sequence[EntryResponse]) -> Json:
    """Write the answer to a transaction; `responses` are in the order of the request's entries."""
    return _bundle("transaction-response", [_response_entry(answer) for answer in responses])


def searchset(
    resources: Iterable[Json],
    *,
    base: str,
    total: int | None,
    self_url: str,
    next_url: str | None = None,
    included: Iterable[Json] = (),
    outcome: Json | None = None,
) -> Json:
    """Write one page of a search: its matches, what is `included` with them, and warnings.

    `base` is our address for fullUrl, `outcome` the warnings.
    """
    modes = (("match", resources), ("include", included))
    entries: list[Json] = [
        {"fullUrl": _full_url(base, resource), "resource": resource, "search": {"mode": mode}}
        for mode, found in modes
        for resource in found
    ]
    if outcome is not None:
        entries.append({"resource": outcome, "search": {"mode": "outcome"}})
    return _bundle("searchset", entries, total=total, self_url=self_url, next_url=next_url)


def history_bundle(
    versions: Iterable[HistoryVersion | DeletedVersion],
    *,
    base: str,
    total: int | None,
    self_url: str,
    next_url: str | None = None,
) -> Json:
    """Write one page of a history, newest version first, as the caller gives them."""
    entries = [_history_entry(base, version) for version in versions]
    return _bundle("history", entries, total=total, self_url=self_url, next_url=next_url)


_WITHOUT_RESOURCE: Final = ("DELETE", "GET", "HEAD")
_URL: Final = re.compile(
    r"(?P<type>[A-Z][A-Za-z]{1,63})(/(?P<id>[^/?]+))?(?P<history>/_history(/[0-9]+)?)?"
    r"(\?(?P<query>.+))?"
)


def _read_entry(index: int, row: Any, bases: Collection[str]) -> Entry:
    place = f"Bundle.entry[{index}]"
    request = row.get("request") if isinstance(row, dict) else None
    if not isinstance(request, dict):
        raise _rejected([_issue(place, "bundle-request", "The entry has no request.")])
    method, url = request.get("method"), request.get("url")
    if method == "PATCH":
        message = "PATCH is not taken in a transaction."
        raise _rejected([_issue(f"{place}.request.method", "bundle-method", message)])
    if not isinstance(method, str) or method not in ORDER:
        message = "The method must be DELETE, POST, PUT, GET or HEAD."
        raise _rejected([_issue(f"{place}.request.method", "bundle-method", message)])
    target = _relative(url, bases) if isinstance(url, str) else None
    if target is None or (target["history"] and method not in ("GET", "HEAD")):
        message = "The url must be Type, Type/id or Type?query of this server."
        raise _rejected([_issue(f"{place}.request.url", "bundle-url", message)])
    entry = Entry(
        index=index,
        full_url=row.get("fullUrl"),
        method=method,
        type=target["type"],
        id=target["id"],
        query=target["query"],
        if_match=_if_match(request, place),
        if_none_exist=request.get("ifNoneExist"),
        resource=row.get("resource"),
    )
    issues = _entry_issues(entry, place)
    if issues:
        raise _rejected(issues)
    return entry


def _relative(url: str, bases: Collection[str]) -> re.Match[str] | None:
    for base in bases:
        url = url.removeprefix(f"{base.rstrip('/')}/")
    match = _URL.fullmatch(url.removeprefix("/"))
    if match is None or not match["id"]:
        return match
    # A search goes to a type, not to an instance.
    is_instance = parse_reference(f"{match['type']}/{match['id']}") is not None
    return match if is_instance and (match["history"] or not match["query"]) else None


def _if_match(request: Json, place: str) -> int | None:
    text = request.get("ifMatch")
    if text is None:
        return None
    version = version_in(text) if isinstance(text, str) else None
    if version is None:
        message = 'ifMatch must be a version of the form W/"3".'
        raise _rejected([_issue(f"{place}.request.ifMatch", "bundle-if-match", message)])
    return version


def _entry_issues(entry: Entry, place: str) -> list[Issue]:
    issues = []
    url = f"{place}.request.url"
    if entry.full_url is not None and not _is_full_url(entry.full_url):
        message = "A fullUrl is urn:uuid:..., urn:oid:... or an absolute URL."
        issues.append(_issue(f"{place}.fullUrl", "bundle-full-url", message))
    if entry.if_none_exist is not None and not isinstance(entry.if_none_exist, str):
        message = "ifNoneExist must be a search's query."
        issues.append(_issue(f"{place}.request.ifNoneExist", "bundle-if-none-exist", message))
    match entry.method:
        case "POST" if entry.id or entry.query:
            issues.append(_issue(url, "bundle-url", "A create's url is the type alone."))
        case "PUT" if not (entry.id or entry.query):
            issues.append(_issue(url, "bundle-url", "An update's url is Type/id or Type?query."))
        case "DELETE" if not entry.id:
            issues.append(_issue(url, "bundle-url", "A delete's url is Type/id."))
    if entry.method in _WITHOUT_RESOURCE:
        return issues
    if not isinstance(entry.resource, dict):
        issues.append(_issue(f"{place}.resource", "bundle-resource", "The entry has no resource."))
    elif entry.resource.get("resourceType") != entry.type:
        issues.append(_issue(url, "bundle-url", "The url names another type than the resource."))
    elif entry.method == "PUT" and entry.id and entry.resource.get("id") != entry.id:
        message = "The resource's id must be the id of the url."
        issues.append(_issue(f"{place}.resource.id", "bundle-url", message))
    return issues


def _is_full_url(text: Any) -> bool:
    schemes = ("urn:uuid:", "urn:oid:", "http://", "https://")
    return isinstance(text, str) and text.startswith(schemes)


def _overlaps(entries: Sequence[Entry]) -> Iterable[Issue]:
    """A transaction may not hold the same fullUrl twice, nor write one resource twice."""
    seen: set[str] = set()
    for entry in entries:
        place = f"Bundle.entry[{entry.index}]"
        if entry.full_url is not None and entry.method not in _WITHOUT_RESOURCE:
            if entry.full_url in seen:
                message = "Another entry has the same fullUrl."
                yield _issue(f"{place}.fullUrl", "bundle-full-url", message)
            seen.add(entry.full_url)
        if entry.method in ("PUT", "DELETE"):
            target = f"{entry.type}/{entry.id}?{entry.query}"
            if target in seen:
                message = "Another entry writes the same resource."
                yield _issue(f"{place}.request.url", "bundle-url", message)
            seen.add(target)


def _response_entry(answer: EntryResponse) -> Json:
    fields = {
        "status": answer.status,
        "location": answer.location,
        "etag": answer.etag,
        "lastModified": answer.last_modified,
        "outcome": answer.outcome,
    }
    entry: Json = {} if answer.resource is None else {"resource": answer.resource}
    entry["response"] = {name: value for name, value in fields.items() if value is not None}
    return entry


def _history_entry(base: str, version: HistoryVersion | DeletedVersion) -> Json:
    if isinstance(version, DeletedVersion):
        path = f"{version.type}/{version.id}"
        return {
            "fullUrl": f"{base.rstrip('/')}/{path}",
            "request": {"method": "DELETE", "url": path},
            "response": {
                "status": "204 No Content",
                "etag": f'W/"{version.version}"',
                "lastModified": version.at,
            },
        }
    resource = version.resource
    meta = resource.get("meta", {})
    path = resource["resourceType"]
    if version.method != "POST":
        path += f"/{resource['id']}"
    response = {"status": version.status}
    if "versionId" in meta:
        response["etag"] = f'W/"{meta["versionId"]}"'
    if "lastUpdated" in meta:
        response["lastModified"] = meta["lastUpdated"]
    return {
        "fullUrl": _full_url(base, resource),
        "resource": resource,
        "request": {"method": version.method, "url": path},
        "response": response,
    }


def _bundle(
    kind: str,
    entries: Sequence[Json],
    *,
    total: int | None = None,
    self_url: str | None = None,
    next_url: str | None = None,
) -> Json:
    bundle: Json = {"resourceType": "Bundle", "type": kind}
    if total is not None:
        bundle["total"] = total
    links = [("self", self_url), ("next", next_url)]
    if any(url for _, url in links):
        bundle["link"] = [{"relation": name, "url": url} for name, url in links if url]
    if entries:  # FHIR has no empty arrays
        bundle["entry"] = list(entries)
    return bundle


def _full_url(base: str, resource: Json) -> str:
    return f"{base.rstrip('/')}/{resource['resourceType']}/{resource['id']}"


def _issue(place: str, rule: str, message: str) -> Issue:
    code = {"bundle-size": "too-costly"}.get(rule, "structure")
    return Issue(place, message, code=code, rule=rule)


def _rejected(issues: Sequence[Issue]) -> ResourceRejected:
    return ResourceRejected(issues=issues)
