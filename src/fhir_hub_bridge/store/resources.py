"""FHIR resources as stored: the current version of each, and every version ever.

Bodies are stored with the id, version and time the server owns, as the bytes that will be served.
Versions are written by `save` and, the last one of a deleted resource, by `bury`; a version number
taken by another is a VersionConflict. After: `resource_history`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Select,
    Table,
    bindparam,
    delete,
    select,
)
from sqlalchemy.exc import IntegrityError

from fhir_hub_bridge.errors import AlreadyAnswered, Gone, Unknown, VersionConflict
from fhir_hub_bridge.fhir.codec import Json, format_instant, parse_json, to_bytes
from fhir_hub_bridge.fhir.search import IndexValues
from fhir_hub_bridge.store.buckets import bucket_of
from fhir_hub_bridge.store.instants import from_micros, to_micros
from fhir_hub_bridge.store.keys import among, among_given, keys_given
from fhir_hub_bridge.store.rows import Batch, insert_all
from fhir_hub_bridge.store.search_index import Key, clear_index, found_by, index_batches
from fhir_hub_bridge.store.tables import resource, resource_version

DELETED = "DELETE"
"""The method of a version that ends a resource."""

_KEY = ("bucket", "type", "id")

# Built once: building a statement costs more than the database takes to answer it.
_FIND = select(resource).where(*(resource.c[name] == bindparam(name) for name in _KEY))
_FIND_LOCKED = _FIND.with_for_update()
_FIND_MANY = select(resource).where(among_given([resource.c[name] for name in _KEY]))


@dataclass(frozen=True, slots=True)
class Stored:
    """One stored version of a resource; the `body` of a deletion is empty."""

    type: str
    id: str
    version: int
    last_updated: datetime
    body: bytes
    method: str = ""
    source: str = ""
    referral_id: str = ""

    @property
    def reference(self) -> str:
        """`Type/id`."""
        return f"{self.type}/{self.id}"

    @property
    def is_deletion(self) -> bool:
        """Whether this version says that the resource is gone."""
        return self.method == DELETED

    def parsed(self) -> Json:
        """The body as JSON values."""
        return parse_json(self.body)


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version to be stored: the resource as JSON; id, version and time are stamped on it."""

    resource: Json
    version: int
    at: datetime
    source: str = ""
    referral_id: str = ""
    method: str = "PUT"


def save(conn: Connection, versions: Sequence[NewVersion]) -> None:
    """Store these versions, several of one resource in ascending order.

    Raises VersionConflict when another writer took one of the numbers first.
    """
    insert_versions(conn, batches_of(versions))


def batches_of(versions: Sequence[NewVersion]) -> list[Batch]:
    """The rows of `save`, for a caller that inserts them with others by `insert_versions`."""
    history: list[dict[str, Any]] = []
    newest: dict[Key, tuple[NewVersion, dict[str, Any]]] = {}
    for new in versions:
        type_, id_ = new.resource["resourceType"], new.resource["id"]
        key = (bucket_of(type_, id_), type_, id_)
        row = {
            **dict(zip(_KEY, key, strict=True)),
            "version": new.version,
            "last_updated": to_micros(new.at),
            "method": new.method,
            "body": to_bytes(stamped(new.resource, version=new.version, at=new.at)),
            "source": new.source,
        }
        history.append(row)
        newest[key] = (new, row)
    current: list[dict[str, Any]] = []
    found: list[tuple[Key, int, IndexValues]] = []
    for key, (new, row) in newest.items():
        values = found_by(new.resource, referral_id=new.referral_id)
        found.append((key, row["last_updated"], values))
        current.append(
            {
                **{name: value for name, value in row.items() if name != "method"},
                "referral_id": new.referral_id,
                "status": values.status,
                "owner": values.owner,
                "requester": values.requester,
                "patient": values.patient,
            }
        )
    return [
        Batch(resource_version, history),
        Batch(resource, current, replace=_KEY),
        *index_batches(found),
    ]


def insert_versions(conn: Connection, batches: Sequence[Batch]) -> None:
    """`insert_all`, where a version number that is taken becomes a VersionConflict.

    The key of an answer that is taken becomes AlreadyAnswered.

    What a resource that was there before is found by is deleted first: the order of pages goes
    with it, and that is another with each version.
    """
    clear_index(conn, _changed(batches))
    try:
        insert_all(conn, batches)
    except IntegrityError as error:
        if "answered_request" in str(error.orig):
            raise AlreadyAnswered from error
        # Two writers of a resource may meet in the rows that it is found by, too.
        if any(table in str(error.orig) for table in ("resource_version", "search_")):
            raise VersionConflict("Another writer stored this version first.") from error
        raise


def _changed(batches: Sequence[Batch]) -> list[Key]:
    """The resources among these rows that were there before."""
    versions = [row for b in batches if b.table is resource_version for row in b.rows]
    new = {_key_of(row) for row in versions if row["version"] == 1}
    return sorted({_key_of(row) for row in versions} - new)


def _key_of(row: Mapping[str, Any]) -> Key:
    return row["bucket"], row["type"], row["id"]


def stamped(body: Json, *, version: int, at: datetime) -> Json:
    """The resource with the meta elements the server owns."""
    meta = {**body.get("meta", {}), "versionId": str(version), "lastUpdated": format_instant(at)}
    head = {"resourceType": body["resourceType"], "id": body["id"], "meta": meta}
    return {**head, **{k: v for k, v in body.items() if k not in head}}


def unstamped(body: Json) -> Json:
    """The resource without version and time, as its writer wrote it; `id` stays."""
    meta = {k: v for k, v in body.get("meta", {}).items() if k not in ("versionId", "lastUpdated")}
    rest = {k: v for k, v in body.items() if k != "meta"}
    return {**rest, "meta": meta} if meta else rest


def find(conn: Connection, type_: str, id_: str, *, lock: bool = False) -> Stored | None:
    """The current version, or None; `lock` holds it until the transaction ends."""
    key = {"bucket": bucket_of(type_, id_), "type": type_, "id": id_}
    row = conn.execute(_FIND_LOCKED if lock else _FIND, key).mappings().first()
    return stored_of(row) if row else None


def read(conn: Connection, type_: str, id_: str) -> Stored:
    """The current version. Raises Unknown, Gone where it was deleted."""
    found = find(conn, type_, id_)
    if found is None:
        if last_version(conn, type_, id_):
            raise Gone(f"This {type_} was deleted.")
        raise Unknown(f"There is no {type_} with this id.")
    return found


def last_version(conn: Connection, type_: str, id_: str) -> Stored | None:
    """The newest version ever stored, a deletion too; None where there is none."""
    newest = _versions(type_, id_).order_by(resource_version.c.version.desc()).limit(1)
    row = conn.execute(newest).mappings().first()
    return stored_of(row) if row else None


def bury(conn: Connection, stored: Stored, *, at: datetime) -> int:
    """Delete a resource: its versions stay, a last one says that it is gone. Returns its number.

    Raises VersionConflict when another writer took that number first.
    """
    key = (bucket_of(stored.type, stored.id), stored.type, stored.id)
    last = {
        **dict(zip(_KEY, key, strict=True)),
        "version": stored.version + 1,
        "last_updated": to_micros(at),
        "method": DELETED,
        "body": b"",
        "source": stored.source,
    }
    insert_versions(conn, [Batch(resource_version, [last])])
    conn.execute(delete(resource).where(among(_key_columns(resource), [key])))
    return stored.version + 1


def read_many(conn: Connection, references: Iterable[tuple[str, str]]) -> dict[str, Stored]:
    """The current versions of these (type, id), by `Type/id`."""
    keys = [(bucket_of(type_, id_), type_, id_) for type_, id_ in set(references)]
    if not keys:
        return {}
    rows = conn.execute(_FIND_MANY, keys_given(keys)).mappings()
    return {stored.reference: stored for stored in map(stored_of, rows)}


def read_version(conn: Connection, type_: str, id_: str, version: int) -> Stored:
    """One version ever stored. Raises Unknown, Gone where that version is its deletion."""
    query = _versions(type_, id_).where(resource_version.c.version == version)
    row = conn.execute(query).mappings().first()
    if row is None:
        raise Unknown(f"There is no such version of this {type_}.")
    found = stored_of(row)
    if found.is_deletion:
        raise Gone(f"This version of the {type_} is its deletion.")
    return found


def history(
    conn: Connection,
    type_: str,
    id_: str,
    *,
    since: datetime | None = None,
    before: int | None = None,
    limit: int | None = None,
) -> list[Stored]:
    """Every version, newest first, its deletion too; of numbers below `before`, stored `since`.

    Raises Unknown where there never was one.
    """
    query = _versions(type_, id_)
    if since is not None:
        query = query.where(resource_version.c.last_updated >= to_micros(since))
    if before is not None:
        query = query.where(resource_version.c.version < before)
    rows = conn.execute(query.order_by(resource_version.c.version.desc()).limit(limit)).mappings()
    found = [stored_of(row) for row in rows]
    if not found and not last_version(conn, type_, id_):
        raise Unknown(f"There is no {type_} with this id.")
    return found


def _key_columns(table: Table) -> list[Column[Any]]:
    return [table.c[name] for name in _KEY]


def _versions(type_: str, id_: str) -> Select[Any]:
    return select(resource_version).where(
        resource_version.c.bucket == bucket_of(type_, id_),
        resource_version.c.type == type_,
        resource_version.c.id == id_,
    )


def stored_of(row: Mapping[Any, Any]) -> Stored:
    """A row of `resource` or `resource_version`, or some columns of it."""
    return Stored(
        type=row["type"],
        id=row["id"],
        version=row["version"],
        last_updated=from_micros(row["last_updated"]),
        body=bytes(row["body"]),
        method=row.get("method", ""),
        source=row.get("source", ""),
        referral_id=row.get("referral_id", ""),
    )
