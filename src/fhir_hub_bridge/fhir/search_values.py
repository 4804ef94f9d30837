"""What a search asks and what is indexed to answer it: the values between reader and store.

Everything comes ready to compare: references as local strings, dates as half-open UTC intervals,
strings folded. Before: `search`, `search_parameters`. After: the store's statements.
https://hl7.org/fhir/R4/search.html
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

Kind: TypeAlias = Literal["token", "reference", "date", "string", "uri", "composite"]
Prefix: TypeAlias = Literal["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"]
Modifier: TypeAlias = Literal["", "missing", "not", "exact", "contains", "identifier"]
# The column of `resource` that holds a parameter's one value in place of an index row.
Column: TypeAlias = Literal["", "status", "owner", "requester", "patient"]
# A parameter's name and its value, as they were asked.
Pair: TypeAlias = tuple[str, str]

FAR_PAST: Final = datetime.min.replace(tzinfo=UTC)
FAR_FUTURE: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TokenValue:
    """A token asked for: None means any, an empty system means none at all."""

    system: str | None
    code: str | None


@dataclass(frozen=True, slots=True)
class DateValue:
    """The asked value as lower <= instant < upper, and how a resource's own must lie to it.

    With [l, u) for the resource's interval: `eq` lower <= l and u <= upper, `ne` not so, `gt`
    u > upper, `lt` l < lower, `ge` gt or eq, `le` lt or eq, `sa` l >= upper, `eb` u <= lower;
    `ap` has been widened and asks that the two overlap.
    """

    prefix: Prefix
    lower: datetime
    upper: datetime


@dataclass(frozen=True, slots=True)
class StringValue:
    """A string asked for: folded it starts (or, with `contains`, is in) the resource's own."""

    folded: str
    exact: str


@dataclass(frozen=True, slots=True)
class CompositeValue:
    """The values of a composite's components, `system|code` or `code` each.

    Joined by `$` they equal the code of one of the parameter's token rows.
    """

    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """One parameter of a query; a match of any value suffices, all filters must match.

    `values` holds TokenValue for a token, DateValue for a date, StringValue for a string,
    CompositeValue for a composite, str for a uri and for a reference (local, or absolute where it
    is another server's). With `missing` it holds one bool; with `not` no value may match, and a
    resource without the element does match; with `identifier` it holds TokenValue, to be found
    among the tokens of `<name>:identifier`. `column` says where the value is kept if it is not in
    the index; `_id` and `_lastUpdated` are always the resource's own.
    """

    name: str
    kind: Kind
    values: tuple[Any, ...]
    modifier: Modifier = ""
    column: Column = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """`reference.filter`: the resource names one, of one of the target types, that matches.

    `column` holds the reference, if one does. A filter fits all the targets.
    """

    reference: str
    targets: tuple[str, ...]
    filter: Filter
    column: Column = ""


@dataclass(frozen=True, slots=True)
class Has:
    """`_has:type:reference:filter`: a resource of that type names this one and matches."""

    type: str
    reference: str
    filter: Filter
    column: Column = ""


@dataclass(frozen=True, slots=True)
class Include:
    """What to send along: what `source` names by `parameter`, or (reverse) what names a match.

    `parameter` may be `*`, any; `target` is the type of what is named, empty for any; `column`
    holds the reference, if one does.
    """

    source: str
    parameter: str
    target: str = ""
    reverse: bool = False
    iterate: bool = False
    column: Column = ""


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key to sort by, the first of several being the most significant."""

    name: str
    kind: Kind
    descending: bool = False
    column: Column = ""


@dataclass(frozen=True, slots=True)
class Query:
    """What a search asks. `applied` are the pairs that were used, for the `self` link."""

    type: str
    filters: tuple[Filter | Chain | Has, ...] = ()
    count: int | None = None
    sort: tuple[SortKey, ...] = ()
    total: Literal["", "none", "estimate", "accurate"] = ""
    summary: Literal["", "count", "true", "text", "data", "false"] = ""
    elements: tuple[str, ...] = ()
    includes: tuple[Include, ...] = ()
    format: str = ""
    applied: tuple[Pair, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexValues:
    """What the store keeps beside a resource to find it by, each row once.

    Rows begin with the parameter's name: tokens (system, code), uris and composites among them
    with no system; references (target); dates (lower, upper), half-open, open ends far away;
    strings (folded, exact). What a column holds has no row.
    """

    tokens: tuple[tuple[str, str, str], ...] = ()
    references: tuple[tuple[str, str], ...] = ()
    dates: tuple[tuple[str, datetime, datetime], ...] = ()
    strings: tuple[tuple[str, str, str], ...] = ()
    status: str | None = None
    owner: str | None = None
    requester: str | None = None
    patient: str | None = None
