"""A small FHIR R4 server's memory: resources with versions, transactions, conditional writes.

Only what a referring entity's server needs to be told things. https://hl7.org/fhir/R4/http.html
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from fhir_hub_bridge.sandbox.journal import JsonObject, now_utc


class FhirError(Exception):
    """A request this server does not take: HTTP status, FHIR issue code, a sentence."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Stored:
    """The outcome of one write: 200 or 201, and the version that now stands."""

    status: int
    resource: JsonObject

    @property
    def location(self) -> str:
        """The version's address, relative to the base."""
        r = self.resource
        return f"{r['resourceType']}/{r['id']}/_history/{r['meta']['versionId']}"

    @property
    def etag(self) -> str:
        """The version as a weak entity tag."""
        return f'W/"{self.resource["meta"]["versionId"]}"'


class Shelf:
    """What the server holds. Ids come from a seed, so that two runs look alike."""

    def __init__(self, *, seed: int = 1, clock: Callable[[], datetime] = now_utc) -> None:
        """Start empty."""
        self._random = random.Random(seed)
        self._clock = clock
        self._held: dict[tuple[str, str], JsonObject] = {}
        # Ids by type and identifier value; may name one that is gone, never misses one.
        self._named: dict[tuple[str, str], dict[str, None]] = {}

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self._named.clear()

    def read(self, kind: str, id_: str) -> JsonObject:
        """The current version. Raises FhirError 404."""
        found = self._held.get((kind, id_))
        if found is None:
            raise FhirError(404, "not-found", f"{kind}/{id_} is not here.")
        return found

    def search(self, kind: str, query: str) -> list[JsonObject]:
        """Resources of this type that match `identifier` and `_id`; all else is ignored."""
        wanted = [(k, v) for k, v in parse_qsl(query) if k in {"identifier", "_id"}]
        named = next((value for key, value in wanted if key == "identifier"), None)
        candidates = (
            [r for (held_kind, _), r in self._held.items() if held_kind == kind]
            if named is None
            else self._named_by(kind, named)
        )
        return [r for r in candidates if all(_matches(r, key, value) for key, value in wanted)]

    def create(self, resource: JsonObject, *, if_none_exist: str = "") -> Stored:
        """Store a new resource, or name the one that `if_none_exist` finds. Raises FhirError."""
        kind = _kind(resource)
        if if_none_exist:
            found = self._one(kind, if_none_exist)
            if found is not None:
                return Stored(200, found)
        return self._store(resource, id_=self._new_id(kind))

    def put(self, url: str, resource: JsonObject, *, if_match: str = "") -> Stored:
        """Store at `Type/id`, or at the one that `Type?identifier=...` finds. Raises FhirError."""
        kind, id_ = self._place(url, resource)
        held = self._held.get((kind, id_))
        if if_match and (held is None or if_match != Stored(200, held).etag):
            raise FhirError(412, "conflict", "If-Match names another version.")
        return self._store(resource, id_=id_)

    def transaction(self, bundle: JsonObject) -> JsonObject:
        """Do every entry or none; answer the transaction-response Bundle. Raises FhirError."""
        if bundle.get("type") not in {"transaction", "batch"}:
            raise FhirError(400, "invalid", "Only transaction Bundles are taken here.")
        before = dict(self._held)
        try:
            stored = [self._enter(entry) for entry in self._linked(bundle)]
        except FhirError:
            self._held = before
            raise
        return {
            "resourceType": "Bundle",
            "type": f"{bundle['type']}-response",
            "entry": [
                {
                    "response": {
                        "status": "201 Created" if s.status == 201 else "200 OK",
                        "location": s.location,
                        "etag": s.etag,
                        "lastModified": s.resource["meta"]["lastUpdated"],
                    }
                }
                for s in stored
            ],
        }

    def _linked(self, bundle: JsonObject) -> list[JsonObject]:
        """The entries, with `urn:uuid:` references turned into the ids that will be given."""
        names: dict[str, str] = {}
        entries: list[JsonObject] = []
        for entry in bundle.get("entry", []):
            request, resource = entry.get("request"), entry.get("resource")
            if not isinstance(request, dict) or not isinstance(resource, dict):
                raise FhirError(400, "structure", "An entry lacks its request or resource.")
            kind, url = _kind(resource), str(request.get("url", ""))
            match request.get("method"):
                case "PUT":
                    _, id_ = self._place(url, resource)
                case "POST":
                    found = self._one(kind, query) if (query := _if_none_exist(request)) else None
                    id_ = found["id"] if found else self._new_id(kind)
                case method:
                    raise FhirError(400, "not-supported", f"{method} is not taken in a Bundle.")
            names[str(entry.get("fullUrl", ""))] = f"{kind}/{id_}"
            entries.append({"request": request, "resource": resource, "id": id_})
        return [{**entry, "resource": _renamed(entry["resource"], names)} for entry in entries]

    def _enter(self, entry: JsonObject) -> Stored:
        request, resource, id_ = entry["request"], entry["resource"], entry["id"]
        if request["method"] == "PUT":
            url = f"{resource['resourceType']}/{id_}"
            return self.put(url, {**resource, "id": id_}, if_match=request.get("ifMatch", ""))
        held = self._held.get((resource["resourceType"], id_))
        return Stored(200, held) if held else self._store(resource, id_=id_)

    def _place(self, url: str, resource: JsonObject) -> tuple[str, str]:
        path, _, query = url.partition("?")
        kind, _, id_ = path.strip("/").partition("/")
        if kind != _kind(resource):
            raise FhirError(400, "invalid", f"The resource is no {kind}.")
        if id_:
            if resource.get("id") not in {None, id_}:
                raise FhirError(400, "invalid", "The resource's id is not the one in the address.")
            return kind, id_
        if not query:
            raise FhirError(400, "invalid", "A PUT needs an id or a search.")
        found = self._one(kind, query)
        return kind, found["id"] if found else str(resource.get("id") or self._new_id(kind))

    def _one(self, kind: str, query: str) -> JsonObject | None:
        if not any(k == "identifier" and v.strip("|") for k, v in parse_qsl(query)):
            raise FhirError(412, "invalid", "A conditional write here is by identifier.")
        found = self.search(kind, query)
        if len(found) > 1:
            raise FhirError(412, "multiple-matches", "The search finds more than one.")
        return found[0] if found else None

    def _store(self, resource: JsonObject, *, id_: str) -> Stored:
        kind = _kind(resource)
        held = self._held.get((kind, id_))
        if held is not None and _content(held) == _content(resource):
            return Stored(200, held)
        version = int(held["meta"]["versionId"]) + 1 if held else 1
        moment = self._clock().isoformat(timespec="milliseconds")
        meta = {**resource.get("meta", {}), "versionId": str(version), "lastUpdated": moment}
        stored = {**resource, "id": id_, "meta": meta}
        self._held[kind, id_] = stored
        for _, value in identifiers_of(stored):
            self._named.setdefault((kind, value), {})[id_] = None
        return Stored(200 if held else 201, stored)

    def _named_by(self, kind: str, token: str) -> list[JsonObject]:
        ids = self._named.get((kind, token.rpartition("|")[2]), {})
        return [self._held[kind, id_] for id_ in ids if (kind, id_) in self._held]

    def _new_id(self, kind: str) -> str:
        return f"{kind.lower()}-{self._random.getrandbits(40):010x}"


def identifiers_of(resource: JsonObject) -> list[tuple[str, str]]:
    """The (system, value) pairs of `identifier`, whether it is a list or one."""
    given = resource.get("identifier", [])
    listed = given if isinstance(given, list) else [given]
    return [
        (str(i.get("system", "")), str(i["value"]))
        for i in listed
        if isinstance(i, dict) and i.get("value")
    ]


def _kind(resource: JsonObject) -> str:
    kind = resource.get("resourceType")
    if not isinstance(kind, str) or not kind:
        raise FhirError(400, "structure", "The resource has no resourceType.")
    if kind in {"Communication", "Task"} and not isinstance(resource.get("status"), str):
        raise FhirError(422, "required", f"{kind}.status is missing.")
    return kind


def _if_none_exist(request: JsonObject) -> str:
    return str(request.get("ifNoneExist", "")).lstrip("?")


def _matches(resource: JsonObject, key: str, value: str) -> bool:
    if key == "_id":
        return bool(resource["id"] == value)
    system, bar, code = value.rpartition("|")
    return any(
        held_value == code and (not bar or held_system == system)
        for held_system, held_value in identifiers_of(resource)
    )


def _content(resource: JsonObject) -> JsonObject:
    meta = {
        k: v for k, v in resource.get("meta", {}).items() if k not in {"versionId", "lastUpdated"}
    }
    return {**{k: v for k, v in resource.items() if k != "id"}, "meta": meta}


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            k: names.get(v, v) if k == "reference" and isinstance(v, str) else _renamed(v, names)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [_renamed(v, names) for v in value]
    return value
