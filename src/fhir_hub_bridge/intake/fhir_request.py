"""A client's request taken apart before the database is touched: parsed, judged, parts named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir import canonical, reference
from fhir_hub_bridge.fhir.bundle import Entry, read_transaction, rewrite_references, unresolved
from fhir_hub_bridge.fhir.codec import Json, parse_json
from fhir_hub_bridge.fhir.packages import Library
from fhir_hub_bridge.fhir.profiles import declared, profile_issues
from fhir_hub_bridge.fhir.validation import SUPPORTED_TYPES, issues_of
from fhir_hub_bridge.mapping.cell_values import Fault, read_cin
from fhir_hub_bridge.store.buckets import bucket_of, bucket_of_key
from fhir_hub_bridge.store.repeats import RepeatKey

_SENT = SUPPORTED_TYPES - {"AuditEvent", "Bundle"}

WRITABLE = {"POST": _SENT, "PUT": _SENT, "PATCH": _SENT, "DELETE": _SENT}
"""What a client may do with which type; routes and CapabilityStatement follow."""

_REPEATS_LAST = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Asked:
    """One write that a client asks for. `type` and `id` are empty for a transaction Bundle.

    `query` is the search that names the resource of a conditional update, which has no id then.
    `patch` is what the client sent where `body` is what that makes of the stored resource.
    """

    method: str  # POST, PUT or DELETE
    body: bytes = b""
    type: str = ""
    id: str = ""
    query: str = ""
    if_match: int | None = None
    if_none_exist: str = ""
    idempotency_key: str = ""
    caller: str = ""  # partner id the client acts as; empty: the operator
    base: str = ""  # our FHIR base as the client addressed it, where that is known
    patch: bytes = b""

    @property
    def sent(self) -> bytes:
        """The client's own bytes."""
        return self.patch or self.body

    def bases(self, base_url: str) -> tuple[str, ...]:
        """All our addresses: our base as partners reach it, and as the client did."""
        return (base_url, self.base) if self.base else (base_url,)

    @property
    def digest(self) -> str:
        """SHA-256 of the client's own bytes."""
        return hashlib.sha256(self.sent).hexdigest()

    def body_keys(self, entries: Sequence[Entry]) -> list[RepeatKey]:
        """How the same request is recognised by its very bytes.

        One with an update is not, unless that names the version it changes: a body that was right
        before may be right again, and doing it again does no harm. Nor is one of which every part
        carries its own condition, or is a deletion.
        """
        if any(entry.method == "PUT" and entry.if_match is None for entry in entries):
            return []
        if not any(is_unconditional(entry) for entry in entries):
            return []
        what = f"{self.method} {self.type}/{self.id} {self.if_match or ''}"
        return [RepeatKey(f"digest:{self.caller}:{what}:{self.digest}", _REPEATS_LAST)]

    def client_keys(self) -> list[RepeatKey]:
        """How it is recognised by the key that its client gave it, for this interaction."""
        if not self.idempotency_key:
            return []
        key = f"key:{self.caller}:{self.method} {self.type}:{self.idempotency_key}"
        return [RepeatKey(key, _REPEATS_LAST, self.digest)]


def is_unconditional(entry: Entry) -> bool:
    """Whether this entry, done again, would be done twice, or refused."""
    if entry.method == "POST":
        return not entry.if_none_exist
    return entry.method == "PUT" and not entry.query


@dataclass(frozen=True, slots=True)
class Answered:
    """What to answer: HTTP status, headers (Location, ETag, Last-Modified) and the body."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def read_entries(asked: Asked, *, bases: Collection[str], library: Library) -> tuple[Entry, ...]:
    """The entries of a Bundle, or the one entry of a single create or update; every body judged.

    `bases` are our own addresses: references below them become relative. `library` holds the
    profiles that a body which names them must keep. Raises ResourceRejected with every issue
    found, each at its place.
    """
    if not asked.type:
        bundle = parse_json(asked.body)
        entries = with_names_in_full(read_transaction(bundle, bases=bases))
        issues = [issue for entry in entries for issue in _entry_issues(entry, entries, library)]
    else:
        resource = None if asked.method == "DELETE" else parse_json(asked.body)
        issues = []
        if resource is not None:
            issues = [*_single_issues(asked, resource), *_body_issues(resource, library)]
        entries = (
            Entry(
                index=0,
                full_url=None,
                method=asked.method,
                type=asked.type,
                id=asked.id or None,
                query=asked.query or None,
                if_match=asked.if_match,
                if_none_exist=asked.if_none_exist or None,
                resource=resource,
            ),
        )
    if issues:
        raise ResourceRejected(issues=issues)
    return with_own_relative(entries, bases=bases)


def with_names_in_full(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries with a relative reference to another entry made that one's fullUrl.

    It is relative to the server that the entry's own fullUrl is on.
    https://hl7.org/fhir/R4/bundle.html#references
    """
    names: dict[str, dict[str, str]] = {}  # by server
    bases: dict[int, str] = {}
    for entry in entries:
        found = reference.parse_reference(entry.full_url or "")
        if found is not None and found.type and found.base:
            bases[entry.index] = found.base
            named = names.setdefault(found.base, {})
            named[f"{found.type}/{found.id}"] = str(entry.full_url)
    return tuple(
        replace(entry, resource=rewrite_references(entry.resource, names[bases[entry.index]]))
        if entry.resource is not None and entry.index in bases
        else entry
        for entry in entries
    )


def with_own_relative(entries: Sequence[Entry], *, bases: Collection[str]) -> tuple[Entry, ...]:
    """The entries with relative references to what lies below our own `bases`.

    A name that an entry without an id has in its Bundle stays, until the id is known.
    """
    names = {entry.full_url for entry in entries if entry.full_url and not entry.id}
    return tuple(
        replace(entry, resource=reference.with_own_relative(entry.resource, bases=bases, but=names))
        if entry.resource is not None
        else entry
        for entry in entries
    )


def with_ids(
    entries: Sequence[Entry], *, next_id: Callable[[int], str], buckets: Mapping[int, int]
) -> tuple[Entry, ...]:
    """The entries with an id for each new resource, and references rewritten.

    `buckets` gives the bucket of each by its place in the request.
    """
    named = [
        replace(entry, id=next_id(buckets[entry.index]))
        if entry.method == "POST" and entry.resource is not None
        else entry
        for entry in entries
    ]
    new_names = {
        e.full_url: f"{e.type}/{e.id}"
        for e in named
        if e.full_url and (e.method == "POST" or e.full_url.startswith("urn:"))
    }
    return tuple(
        replace(
            entry,
            resource={**rewrite_references(entry.resource, new_names), "id": entry.id},
        )
        if entry.resource is not None
        else entry
        for entry in named
    )


def buckets_of_entries(
    entries: Sequence[Entry],
    *,
    cin_systems: frozenset[str],
    stored: Callable[[str], Json | None],
    otherwise: str,
) -> dict[int, int]:
    """The bucket of what is new here, by place in the request: that of the member it is about.

    A member is where her CIN or her stored Patient says, a Task's also by way of its stored
    ServiceRequest; what is about no member goes with the first one. `stored` finds a resource by
    a reference to it.
    """
    members = {
        e.full_url: _bucket_of_patient(
            e.resource, cin_systems, otherwise=bucket_of_key(f"{otherwise}{e.index}")
        )
        for e in entries
        if e.type == "Patient" and e.resource and e.method == "POST"
    }
    by_name = {e.full_url: e.resource for e in entries if e.full_url and e.resource}

    def own_bucket(entry: Entry) -> int | None:
        if entry.method != "POST" or entry.resource is None:
            return bucket_of(entry.type, str(entry.id))
        if entry.type == "Patient" and entry.full_url in members:
            return members[entry.full_url]
        subject = _subject(entry.resource or {}, by_name, stored)
        if subject in members:
            return members[subject]
        patient = stored(subject)
        if patient is None or patient["resourceType"] != "Patient":
            return None
        where_it_is = bucket_of("Patient", str(patient["id"]))
        return _bucket_of_patient(patient, cin_systems, otherwise=where_it_is)

    own = {entry.index: own_bucket(entry) for entry in entries}
    first = next((bucket for bucket in own.values() if bucket is not None), None)
    fallback = bucket_of_key(otherwise) if first is None else first
    return {index: fallback if bucket is None else bucket for index, bucket in own.items()}


def requester_keys(service_request: Json, *, who: Sequence[str]) -> list[str]:
    """A referral's own names: each name of its requester with each of its identifiers for it."""
    return [
        f"referral:{name}:{number.get('system', '')}|{number['value']}"
        for name in who
        for number in service_request.get("identifier", [])
        if number.get("value")
    ]


def _bucket_of_patient(patient: Json, cin_systems: frozenset[str], *, otherwise: int) -> int:
    for value in patient.get("identifier", []):
        if value.get("system") in cin_systems | {canonical.MEDI_CAL_CIN}:
            cin = read_cin(str(value.get("value", "")))
            if not isinstance(cin, Fault):
                return bucket_of_key(cin[0])
    return otherwise


def _subject(
    resource: Json, by_name: Mapping[str, Json], stored: Callable[[str], Json | None]
) -> str:
    """A reference to the Patient that a resource is about, a Task's by way of its focus."""
    text = str(resource.get("focus", {}).get("reference", ""))
    focus = by_name.get(text) or (stored(text) if text else None) or {}
    for about in (focus, resource):
        for element in ("subject", "for", "patient", "beneficiary"):
            if found := str(about.get(element, {}).get("reference", "")):
                return found
    return ""


def _single_issues(asked: Asked, resource: Json) -> list[Issue]:
    issues: list[Issue] = []
    if resource.get("resourceType") != asked.type:
        issues.append(
            Issue("", f"The body is not a {asked.type}.", code="structure", rule="resource-type")
        )
    if asked.method == "PUT" and not asked.query and resource.get("id") != asked.id:
        issues.append(
            Issue(
                f"{asked.type}.id",
                "The id in the body is not the one in the URL.",
                rule="id-differs",
            )
        )
    return issues


def _body_issues(resource: Json, library: Library) -> list[Issue]:
    """What keeps a body from R4; if nothing, what keeps it from the profiles that it names."""
    return issues_of(resource) or profile_issues(
        resource, profiles=declared(resource), library=library
    )


def _entry_issues(entry: Entry, entries: Sequence[Entry], library: Library) -> list[Issue]:
    place = f"Bundle.entry[{entry.index}]"
    if entry.method in ("GET", "HEAD"):
        return []  # read by the door, once all writes are stored
    if entry.type not in WRITABLE[entry.method]:
        message = "This interaction is not supported in a transaction."
        return [Issue(f"{place}.request", message, code="not-supported", rule="not-supported")]
    if entry.resource is None:
        return []  # a deletion; `read_transaction` refuses other entries without
    known = [e.full_url for e in entries if e.full_url]
    dangling = [
        Issue(
            f"{place}.resource",
            "A reference names no entry of this Bundle.",
            rule="dangling-reference",
        )
        for _ in unresolved(entry.resource, known)
    ]
    judged = [
        replace(issue, place=f"{place}.resource{issue.place[len(entry.type) :]}")
        if issue.place.startswith(entry.type)
        else issue
        for issue in _body_issues(entry.resource, library)
    ]
    return [*dangling, *judged]
