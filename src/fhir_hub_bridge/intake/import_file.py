"""IN by file: a hub's, CBO's or plan's table, row by row, each row accounted for.

Rows are understood before the database is touched, recorded in short units of a few rows, and
every one ends recorded, unchanged, in review or rejected. Sending a file again changes nothing.
Before: `connectors.tabular`, `mapping.row_to_referral`. After: `record_rows`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from fhir_hub_bridge.connectors.rejects import RejectedRow, write_rejects
from fhir_hub_bridge.connectors.tabular import FileRow, Table, open_table
from fhir_hub_bridge.errors import BridgeError, OutcomeUnknown, Rejected, StoreBusy
from fhir_hub_bridge.intake.record_rows import (
    ImportContext,
    ReadRow,
    RowFact,
    leave_to_a_person,
    record_rows,
)
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.mapping.catalog import Catalog
from fhir_hub_bridge.mapping.layout import Layout
from fhir_hub_bridge.mapping.row_to_referral import RowReading, read_header, read_row
from fhir_hub_bridge.referral.deadlines import local_date
from fhir_hub_bridge.store.buckets import bucket_of_key
from fhir_hub_bridge.store.imports import begin_import, end_import, seen_rows
from fhir_hub_bridge.store.transaction import Store

T = TypeVar("T")

ROWS_A_UNIT = 25
"""A unit holds SQLite's only writer: 25 rows keep its neighbours' writes under 30 ms."""

_LOOK_AHEAD = 500


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What became of a file. `rows_read` is always the sum of the four outcomes."""

    rows_read: int
    rows_recorded: int
    rows_unchanged: int
    rows_review: int
    rows_rejected: int
    notices_owed: int
    rejects_path: str
    summary_path: str
    decided: dict[str, str]  # encoding, delimiter, layout: what the reader settled by itself

    @property
    def has_problems(self) -> bool:
        """Whether a person must look at something."""
        return bool(self.rows_review or self.rows_rejected)


@dataclass(slots=True)
class _Tally:
    facts: Counter[str] = field(default_factory=Counter)
    owed: int = 0
    rejects: list[RejectedRow] = field(default_factory=list)
    review: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)

    def note(self, reading: RowReading) -> None:
        """Keep what a person may want to look at although the row could be read."""
        if reading.update and reading.update.flags:
            self.notes.append({"line": reading.line, "flags": reading.update.flags})

    def add(self, fact: RowFact, cells: Sequence[str]) -> None:
        """Count a row; `cells` are as sent, but for what must not be repeated."""
        self.facts[fact.outcome] += 1
        self.owed += fact.notices_owed
        if fact.outcome == "rejected":
            self.rejects.append(RejectedRow(fact.line, cells, fact.issues))
        elif fact.outcome == "review":
            self.review.append({"line": fact.line, "rule": fact.rule})


async def import_file(
    path: Path,
    *,
    layout: Layout,
    catalog: Catalog,
    store: Store,
    recording: Recording,
    out_folder: Path,
    sender: str = "",
    unmatched: str = "",
    history: bool = False,
    on_row: Callable[[int], None] = lambda _: None,
) -> ImportSummary:
    """Import one file; the summary and, if any, the rejects are written to `out_folder` (0600).

    `sender` is a partner id or ""; `unmatched` overrides the layout's policy for rows that speak
    of no referral we have; with `history` nothing in the file owes a notice. `on_row` hears how
    many rows are done. Raises Rejected where the file cannot be read as a table of this layout:
    then nothing is stored. After a StoreBusy, an OutcomeUnknown or a crash the file is simply
    imported again.
    """
    table = open_table(path, encodings=layout.encodings, delimiters=layout.delimiters)
    header = read_header(layout, table.header, line=table.header_line)
    if header.issues:
        raise Rejected(
            f"The header of {path.name} does not fit layout {layout.name}.", header.issues
        )
    file_id = recording.minter("file", table.digest)(bucket_of_key(table.digest))
    context = ImportContext(
        recording=recording,
        file_id=file_id,
        file_name=path.name,
        file_digest=table.digest,
        layout=layout.name,
        sender=sender,
        unmatched=unmatched or layout.unmatched,
        history=history,
    )
    decided = {
        "encoding": table.dialect.encoding,
        "delimiter": table.dialect.delimiter,
        "layout": layout.name,
    }
    await store.write(begin_import, context.opened())
    tally = _Tally()
    today = local_date(recording.now, catalog.rulebook.calendar)
    done = 0
    for rows in _chunks(table.rows(), _LOOK_AHEAD):
        digests = {row.line: _row_digest(context, row) for row in rows}
        seen = await store.read(seen_rows, tuple(digests.values()))
        fresh: list[ReadRow] = []
        for row in rows:
            if digests[row.line] in seen:
                tally.add(RowFact(row.line, "unchanged"), row.cells)
                continue
            reading = (
                RowReading(row.line, None, row.issues, row.cells)
                if row.issues  # half a line cannot be read further
                else read_row(
                    layout, header, row.cells, line=row.line, today=today, catalog=catalog
                )
            )
            fresh.append(ReadRow(digests[row.line], header.columns, reading))
        recorded: set[str] = set()  # since the look at the table
        for unit in _chunks(fresh, ROWS_A_UNIT):
            news = [read for read in unit if read.digest not in recorded]
            facts = {fact.line: fact for fact in await _record(store, news, context)}
            for read in unit:
                fact = facts.get(read.line) or RowFact(read.line, "unchanged")
                tally.add(fact, read.reading.cells)
                tally.note(read.reading)
                if fact.outcome in ("recorded", "unchanged"):
                    recorded.add(read.digest)
        done += len(rows)
        on_row(done)
    summary = _written(table, tally, decided, out_folder, file_id)
    await store.write(end_import, file_id, json.dumps(asdict(summary)), recording.now)
    return summary


async def _record(store: Store, rows: Sequence[ReadRow], context: ImportContext) -> list[RowFact]:
    """The rows' facts: the whole unit first, row by row when the unit is refused.

    A row that is refused alone goes to a person, and the file goes on.
    """
    try:
        return await store.write(record_rows, rows, context)
    except (StoreBusy, OutcomeUnknown):
        raise
    except BridgeError:
        if len(rows) == 1:
            return await store.write(leave_to_a_person, rows[0], context, rule="not-recorded")
        return [fact for row in rows for fact in await _record(store, [row], context)]


def _row_digest(context: ImportContext, row: FileRow) -> str:
    """What makes a row the same row: its sender, its layout and every cell."""
    text = "\x1f".join((context.sender, context.layout, context.unmatched, *row.cells))
    return hashlib.sha256(text.encode()).hexdigest()


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _written(
    table: Table, tally: _Tally, decided: dict[str, str], folder: Path, file_id: str
) -> ImportSummary:
    folder.mkdir(parents=True, exist_ok=True)
    rejects_path = ""
    if tally.rejects:
        path = folder / f"{file_id}-rejects.csv"
        write_rejects(path, table.header, tally.rejects, dialect=table.dialect)
        rejects_path = str(path)
    summary_path = folder / f"{file_id}-summary.json"
    summary = ImportSummary(
        rows_read=sum(tally.facts.values()),
        rows_recorded=tally.facts["recorded"],
        rows_unchanged=tally.facts["unchanged"],
        rows_review=tally.facts["review"],
        rows_rejected=tally.facts["rejected"],
        notices_owed=tally.owed,
        rejects_path=rejects_path,
        summary_path=str(summary_path),
        decided=decided,
    )
    content = {
        **asdict(summary),
        "file": table.path.name,
        "review": tally.review,
        "notes": tally.notes,
    }
    descriptor = os.open(summary_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
    return summary
