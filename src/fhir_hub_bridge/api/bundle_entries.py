"""An entry of a Bundle asked as a request of its own, by the very routes that serve others.

So an entry is parsed, judged, allowed and answered as the single request is. Before:
`interactions.batch` and `interactions.transaction`.
https://hl7.org/fhir/R4/bundle.html#bundle-unique, https://hl7.org/fhir/R4/http.html#transaction
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message

from fhir_hub_bridge.api.addresses import FHIR
from fhir_hub_bridge.api.answers import answer, outcome
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.api.media_types import FHIR_JSON
from fhir_hub_bridge.api.representation import ANSWER_DEPTH
from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir.bundle import MAX_ENTRIES, ORDER
from fhir_hub_bridge.fhir.codec import Json, Limits, parse_json, to_bytes

_READS: Final = ("GET", "HEAD")

MOST_READ: Final = 5_000

# Of the Bundle's own headers, those that say who asks and how; conditions are the entry's own.
_KEPT: Final = ("host", "x-partner", "authorization", "x-request-id", "prefer")
_CONDITIONS: Final = {
    "ifMatch": "if-match",
    "ifNoneMatch": "if-none-match",
    "ifModifiedSince": "if-modified-since",
    "ifNoneExist": "if-none-exist",
}


@dataclass(frozen=True, slots=True)
class Told:
    """What one entry was answered."""

    status: int
    headers: Headers
    body: Json  # empty where there is none

    @property
    def resource(self) -> Json | None:
        """The resource in the answer; None for one without, and for an OperationOutcome."""
        return None if self.body.get("resourceType") in (None, "OperationOutcome") else self.body

    @property
    def resources(self) -> int:
        """How many resources it brings: itself, or a Bundle's entries."""
        return max(1, len(self.body.get("entry", [])))

    def entry(self) -> Json:
        """As an entry of the response Bundle."""
        found = self.body
        said = found.get("resourceType") == "OperationOutcome"
        fields = {
            "status": f"{self.status} {HTTPStatus(self.status).phrase}",
            "location": self.headers.get("location"),
            "etag": self.headers.get("etag"),
            "lastModified": found.get("meta", {}).get("lastUpdated"),
            "outcome": found if said else None,
        }
        entry: Json = {"resource": found} if found and not said else {}
        entry["response"] = {name: value for name, value in fields.items() if value is not None}
        return entry


@dataclass(slots=True)
class Budget:
    """How many more resources the reads of one Bundle may bring."""

    left: int = MOST_READ


def in_order(bundle: Json) -> Iterator[tuple[int, Any]]:
    """The entries with their places, in the order in which FHIR has them done.

    Raises ResourceRejected (400, 413) for what holds no entries, or too many.
    """
    rows = bundle.get("entry", [])
    if bundle.get("resourceType") != "Bundle" or not isinstance(rows, list):
        message = "A Bundle with its entries in an array is expected."
        raise _refused(message, code="structure", rule="bundle-entry")
    if len(rows) > MAX_ENTRIES:
        message = f"A Bundle may hold at most {MAX_ENTRIES} entries."
        raise _refused(message, code="too-costly", rule="bundle-size")
    yield from sorted(enumerate(rows), key=lambda row: (ORDER.get(_method(row[1]), 0), row[0]))


def is_read(row: Any) -> bool:
    """Whether an entry reads."""
    return _method(row) in _READS


async def ask(call: Call, row: Any, *, prefer: str = "") -> Told:
    """Answer an entry as the same request by itself would be."""
    method, url = _method(row), _url(call, row)
    if method not in ORDER or url is None:
        issue = Issue("", "An entry's request has a method, and a url of this server.")
        return await _told(outcome([issue], status=400))
    resource = row.get("resource")
    content = b"" if method in _READS or resource is None else to_bytes(resource)
    headers = _headers(call, row["request"])
    if prefer and "prefer" not in headers:
        headers["prefer"] = prefer
    headers["content-length"] = str(len(content))
    path, _, query = url.partition("?")
    scope = {
        **{name: call.request.scope[name] for name in ("type", "asgi", "http_version", "scheme")},
        **{name: call.request.scope.get(name) for name in ("server", "client", "root_path")},
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    }
    return await _asked(call, scope, content)


async def ask_read(call: Call, row: Any, budget: Budget) -> Told:
    """Answer an entry that reads; 413 where all of its Bundle bring more than the budget."""
    if budget.left > 0:
        told = await ask(call, row)
        budget.left -= told.resources
        if budget.left >= 0:
            return told
    budget.left = 0
    message = f"The reads of a Bundle may bring at most {MOST_READ:,} resources."
    issue = Issue("", message, code="too-costly", rule="bundle-size")
    return await _told(outcome([issue], status=413))


def refusal_of(told: Told) -> Response | None:
    """The refusal by which an entry refuses its whole Bundle; None for an entry that went well."""
    if told.status < 400:
        return None
    return answer(told.body, status=told.status)


async def _asked(call: Call, scope: Mapping[str, Any], content: bytes) -> Told:
    messages: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Message) -> None:
        messages.append(message)

    await call.request.app(dict(scope), receive, send)
    start = messages[0]
    body = b"".join(message.get("body", b"") for message in messages[1:])
    is_head = scope["method"] == "HEAD"
    headers = Headers(raw=start["headers"])
    return Told(
        start["status"], headers, {} if is_head and start["status"] < 400 else _parsed(body)
    )


async def _told(response: Response) -> Told:
    return Told(response.status_code, response.headers, _parsed(bytes(response.body)))


def _parsed(body: bytes) -> Json:
    # Bundles of what is stored: larger and deeper than what is taken.
    limits = Limits(size_bytes=len(body), depth=ANSWER_DEPTH)
    return parse_json(body, limits=limits) if body else {}


def _headers(call: Call, request: Json) -> dict[str, str]:
    given = call.request.headers
    headers = {name: given[name] for name in _KEPT if name in given}
    headers |= {"accept": FHIR_JSON, "content-type": FHIR_JSON}
    for element, name in _CONDITIONS.items():
        if isinstance(request.get(element), str) and request[element].isascii():
            headers[name] = request[element]
    return headers


def _method(row: Any) -> str:
    request = row.get("request") if isinstance(row, dict) else None
    return str(request.get("method", "")) if isinstance(request, dict) else ""


def _url(call: Call, row: Any) -> str | None:
    """The path and query that an entry asks for, below our own base; None for another server's."""
    url = row["request"].get("url") if _method(row) else None
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url:
        return None
    for base in (call.base, call.bridge.settings.base_url):
        url = url.removeprefix(f"{base}/")
    parts = urlsplit(url)
    is_ours = not (parts.scheme or parts.netloc) and ".." not in parts.path.split("/")
    path = parts.path.removeprefix("/")
    if not is_ours or not path:  # a Bundle within a Bundle is none of FHIR's
        return None
    # An entry's answer is part of the Bundle's: its form is for the Bundle to ask for.
    asked = [part for part in parts.query.split("&") if _name(part) != "_format"]
    return f"{FHIR}/{path}?{'&'.join(asked)}".removesuffix("?")


def _name(part: str) -> str:
    return unquote(part.partition("=")[0])


def _refused(message: str, *, code: str, rule: str) -> ResourceRejected:
    return ResourceRejected(issues=[Issue("Bundle.entry", message, code=code, rule=rule)])
