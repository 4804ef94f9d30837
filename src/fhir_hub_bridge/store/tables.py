"""Every table, in three kinds, checked by a test (docs/decisions/0007):

routed       all of a member's and referral's records; `bucket` first in every key
replicated   partners and other small shared data
projection   rebuildable from the others, keyed by something else

Instants are microseconds since 1970 UTC in a BigInteger, dates and JSON are text, bodies are
bytes: both databases then store and compare the same values. No trigger, no sequence, no
database clock; ids and times come from the caller.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

ROUTED, REPLICATED, PROJECTION = "routed", "replicated", "projection"


def _kind(kind: str) -> dict[str, str]:
    return {"kind": kind}


partner = Table(
    "partner",
    metadata,
    Column("id", Text, primary_key=True),
    Column("data", Text, nullable=False),  # parties.Partner as JSON
    Column("updated_at", BigInteger, nullable=False),
    info=_kind(REPLICATED),
)

fhir_package = Table(  # implementation guides by which resources are judged
    "fhir_package",
    metadata,
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("added_at", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),  # the .tgz as it was added
    PrimaryKeyConstraint("name", "version"),
    info=_kind(REPLICATED),
)

member = Table(  # the person across partners; never served
    "member",
    metadata,
    Column("bucket", Integer, nullable=False),
    Column("cin", Text, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("bucket", "cin"),
    info=_kind(ROUTED),
)

referral = Table(
    "referral",
    metadata,
    Column("bucket", Integer, nullable=False),
    Column("id", Text, nullable=False),
    Column("clr_id", Text, nullable=False),
    Column("plan", Text, nullable=False),  # partner id, else "npi:", "tin:", "name:" + text
    Column("requester", Text, nullable=False),
    Column("provider", Text, nullable=False),  # of the newest assignment, or ""
    Column("cin", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("closed", Boolean, nullable=False),
    Column("held", Text, nullable=False),  # why a person must complete it, or ""
    Column("standing", Text, nullable=False),  # referral status, or authorization before it
    Column("state", Text, nullable=False),  # model.Referral as JSON; rebuildable from events
    Column("resources", Text, nullable=False),  # mapping.ResourceIds as JSON
    Column("events", Integer, nullable=False),  # number of the last event
    Column("notices", Integer, nullable=False),  # number of the last notice or copy
    Column("received_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("bucket", "id"),
    Index("referral_by_member", "bucket", "cin", "service"),
    Index("referral_open", "closed", "changed_at"),
    info=_kind(ROUTED),
)

referral_event = Table(
    "referral_event",
    metadata,
    Column("bucket", Integer, nullable=False),
    Column("referral_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("on_date", Text, nullable=False),
    Column("learned_at", BigInteger, nullable=False),
    Column("data", Text, nullable=False),  # model.Event as JSON
    Column("not_owed", Text, nullable=False),  # JSON: notice type -> rule
    PrimaryKeyConstraint("bucket", "referral_id", "number"),
    ForeignKeyConstraint(["bucket", "referral_id"], ["referral.bucket", "referral.id"]),
    info=_kind(ROUTED),
)

resource = Table(  # the current version of each resource
    "resource",
    metadata,
    Column("bucket", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("last_updated", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("source", Text, nullable=False),  # partner id of the party that sent it
    Column("referral_id", Text, nullable=False),  # "" outside any referral; same bucket
    Column("status", Text),  # promoted: Task, ServiceRequest
    Column("owner", Text),
    Column("requester", Text),
    Column("patient", Text),
    PrimaryKeyConstraint("bucket", "type", "id"),
    Index("resource_newest", "type", "last_updated", "id"),
    Index("resource_by_owner", "type", "owner", "last_updated", "id"),
    Index("resource_by_requester", "type", "requester", "last_updated", "id"),
    Index("resource_by_patient", "type", "patient", "last_updated", "id"),
    Index("resource_by_referral", "bucket", "referral_id"),
    info=_kind(ROUTED),
)

resource_version = Table(  # every version ever stored, the current one too
    "resource_version",
    metadata,
    Column("bucket", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("last_updated", BigInteger, nullable=False),
    Column("method", Text, nullable=False),  # POST, PUT or DELETE
    Column("body", LargeBinary, nullable=False),  # empty for DELETE
    Column("source", Text, nullable=False),  # partner id of the party that sent it
    PrimaryKeyConstraint("bucket", "type", "id", "version"),
    Index("resource_version_newest", "type", "last_updated", "id", "version"),
    info=_kind(ROUTED),
)

# Compared byte by byte, as Python and SQLite do: whatever the language of a PostgreSQL database.
_BYTES = Text().with_variant(Text(collation="C"), "postgresql")

# What a resource is found by, where no column of `resource` holds it (store/search_index.py).
# Tokens and references carry the order of pages, so that the busiest value is paged unsorted.
# SQLite keeps such rows in their key alone, which spares a third of every write.
search_token = Table(
    "search_token",
    metadata,
    Column("bucket", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("param", Text, nullable=False),
    Column("system", Text, nullable=False),
    Column("value", _BYTES, nullable=False),
    Column("last_updated", BigInteger, nullable=False),
    PrimaryKeyConstraint("bucket", "type", "id", "param", "system", "value"),
    Index("search_token_value", "type", "param", "value", "last_updated", "id"),
    sqlite_with_rowid=False,
    info=_kind(ROUTED),
)

search_reference = Table(
    "search_reference",
    metadata,
    Column("bucket", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("param", Text, nullable=False),
    Column("target", _BYTES, nullable=False),  # Type/id, or the URL of another server's
    Column("last_updated", BigInteger, nullable=False),
    PrimaryKeyConstraint("bucket", "type", "id", "param", "target"),
    Index("search_reference_target", "type", "param", "target", "last_updated", "id"),
    sqlite_with_rowid=False,
    info=_kind(ROUTED),
)

search_date = Table(
    "search_date",
    metadata,
    Column("bucket", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("param", Text, nullable=False),
    Column("lower", BigInteger, nullable=False),  # lower <= instant < upper
    Column("upper", BigInteger, nullable=False),
    PrimaryKeyConstraint("bucket", "type", "id", "param", "lower", "upper"),
    Index("search_date_lower", "type", "param", "lower", "upper"),
    sqlite_with_rowid=False,
    info=_kind(ROUTED),
)

search_string = Table(
    "search_string",
    metadata,
    Column("bucket", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("param", Text, nullable=False),
    Column("number", Integer, nullable=False),  # among the resource's of this parameter
    Column("folded", _BYTES, nullable=False),
    Column("exact", Text, nullable=False),
    PrimaryKeyConstraint("bucket", "type", "id", "param", "number"),
    Index("search_string_folded", "type", "param", "folded"),
    sqlite_with_rowid=False,
    info=_kind(ROUTED),
)

notice = Table(
    "notice",
    metadata,
    Column("bucket", Integer, nullable=False),
    Column("id", Text, nullable=False),
    Column("referral_id", Text, nullable=False),
    Column("lane", Integer, nullable=False),  # place among what the referral owes: 1, 2, 3 ...
    Column("recipient", Text, nullable=False),  # partner id, else key of an unregistered party
    Column("type", Text, nullable=False),  # NoticeType, or referral-copy
    Column("event_number", Integer, nullable=False),
    Column("state", Text, nullable=False),  # pending, confirmed or withheld
    Column("rule", Text, nullable=False),  # by which rule it is withheld or escalated, or ""
    Column("rulebook_row", Text, nullable=False),
    Column("rulebook_version", Text, nullable=False),
    Column("confidence", Text, nullable=False),  # label of that row, shown beside the due date
    Column("owed_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("method", Text, nullable=False),  # "" when no agreement names one
    Column("message", LargeBinary, nullable=False),  # frozen at commit, sent on every try
    Column("media_type", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("communication_id", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", BigInteger, nullable=False),
    Column("token", Integer, nullable=False),  # fencing token, counts the claims
    Column("lease_until", BigInteger, nullable=False),  # 0: nobody has it
    Column("sent_at", BigInteger),  # we sent it
    Column("accepted_at", BigInteger),  # their server said so
    Column("received_at", BigInteger),  # acknowledged or read by them
    Column("confirmed_at", BigInteger),
    Column("escalated_at", BigInteger),
    Column("escalated_to", Text, nullable=False),
    Column("escalated_why", Text, nullable=False),
    PrimaryKeyConstraint("bucket", "id"),
    UniqueConstraint("bucket", "referral_id", "lane"),
    ForeignKeyConstraint(["bucket", "referral_id"], ["referral.bucket", "referral.id"]),
    info=_kind(ROUTED),
)
Index(
    "notice_due",
    notice.c.next_attempt_at,
    notice.c.bucket,
    notice.c.id,
    postgresql_where=notice.c.state == "pending",
    sqlite_where=notice.c.state == "pending",
)

remote_copy = Table(  # what is here and on a partner's server: which of the two, seen how when
    "remote_copy",
    metadata,
    Column("bucket", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("id", Text, nullable=False),  # the resource here
    Column("referral_id", Text, nullable=False),
    Column("partner", Text, nullable=False),  # whose server
    Column("kind", Text, nullable=False),  # original, child, or ended
    Column("url", Text, nullable=False),  # of an original, absolute; "" of a child
    Column("seen", Text, nullable=False),  # JSON of what was last taken from there
    Column("refused", Text, nullable=False),  # SHA-256 of what was seen there and not taken, or ""
    Column("trouble", Text, nullable=False),  # the rule by which that was not taken, or ""
    Column("checked_at", BigInteger, nullable=False),  # when it was last looked at
    PrimaryKeyConstraint("bucket", "type", "id"),
    Index("remote_copy_due", "kind", "partner", "checked_at"),
    ForeignKeyConstraint(["bucket", "referral_id"], ["referral.bucket", "referral.id"]),
    info=_kind(ROUTED),
)

notice_attempt = Table(
    "notice_attempt",
    metadata,
    Column("bucket", Integer, nullable=False),
    Column("notice_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),  # accepted, received, unavailable, refused, lease-lost
    Column("status", Integer),  # HTTP status, if any
    Column("detail", Text, nullable=False),  # never a member's data
    PrimaryKeyConstraint("bucket", "notice_id", "number"),
    ForeignKeyConstraint(["bucket", "notice_id"], ["notice.bucket", "notice.id"]),
    info=_kind(ROUTED),
)

import_file = Table(
    "import_file",
    metadata,
    Column("bucket", Integer, nullable=False),
    Column("id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("layout", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("summary", Text, nullable=False),  # JSON, with the counts
    PrimaryKeyConstraint("bucket", "id"),
    info=_kind(ROUTED),
)

import_row = Table(  # every row ever read and what became of it
    "import_row",
    metadata,
    Column("bucket", Integer, nullable=False),  # of the file
    Column("file_id", Text, nullable=False),
    Column("line", Integer, nullable=False),
    Column("outcome", Text, nullable=False),  # recorded, unchanged, review or rejected
    Column("rule", Text, nullable=False),
    Column("referral_id", Text, nullable=False),
    Column("cells", Text, nullable=False),  # JSON, as read
    Column("issues", Text, nullable=False),  # JSON
    PrimaryKeyConstraint("bucket", "file_id", "line"),
    ForeignKeyConstraint(["bucket", "file_id"], ["import_file.bucket", "import_file.id"]),
    info=_kind(ROUTED),
)

row_seen = Table(  # the same row again changes nothing: answered by its digest alone
    "row_seen",
    metadata,
    Column("bucket", Integer, nullable=False),  # hashed from the digest
    Column("digest", Text, nullable=False),  # of sender, layout and cells
    Column("outcome", Text, nullable=False),
    Column("file_id", Text, nullable=False),
    Column("line", Integer, nullable=False),
    PrimaryKeyConstraint("bucket", "digest"),
    info=_kind(ROUTED),
)

answered_request = Table(  # the same request again gets the first answer
    "answered_request",
    metadata,
    Column("bucket", Integer, nullable=False),  # hashed from the key
    Column("key", Text, nullable=False),
    Column("digest", Text, nullable=False),  # of the body that came with the key
    Column("status", Integer, nullable=False),
    Column("headers", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("answered_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),  # none: a referral's own name counts for ever
    PrimaryKeyConstraint("bucket", "key"),
    Index("answered_request_expiring", "bucket", "expires_at"),
    info=_kind(ROUTED),
)

received_body = Table(  # a request as it came, where what is stored is not what was sent
    "received_body",
    metadata,
    Column("bucket", Integer, nullable=False),  # hashed from the digest
    Column("digest", Text, nullable=False),  # SHA-256, as the evidence of events names it
    Column("received_at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("bucket", "digest"),
    info=_kind(ROUTED),
)
