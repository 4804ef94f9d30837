"""Rows gathered by one or more recordings, stored together: parents first, one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from fhir_hub_bridge.store.resources import Stored, insert_versions, stored_of
from fhir_hub_bridge.store.rows import Batch
from fhir_hub_bridge.store.tables import metadata, resource

_PLACE = {table: place for place, table in enumerate(metadata.sorted_tables)}


@dataclass(slots=True)
class Writes:
    """Batches waiting to be stored. Rows that replace must not share a key before `flush`."""

    batches: list[Batch] = field(default_factory=list)

    def add(self, batches: Sequence[Batch]) -> None:
        """More rows."""
        self.batches += [batch for batch in batches if batch.rows]

    def waiting(self, type_: str, id_: str) -> Stored | None:
        """The version of a resource that waits here to be its current one."""
        for batch in self.batches:
            if batch.table is resource:
                for row in batch.rows:
                    if row["type"] == type_ and row["id"] == id_:
                        return stored_of(row)
        return None

    def flush(self, conn: Connection) -> None:
        """Store all of it.

        Raises VersionConflict, AlreadyAnswered, or IntegrityError for another taken key.
        """
        batches = sorted(self.batches, key=lambda batch: _PLACE[batch.table])
        self.batches = []
        insert_versions(conn, batches)
