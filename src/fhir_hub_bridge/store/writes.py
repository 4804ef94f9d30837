"""Rows gathered by one or more recordings, stored together: parents first, one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from fhir_hub_bridge.store.resources import insert_versions
from fhir_hub_bridge.store.rows import Batch
from fhir_hub_bridge.store.tables import metadata

_PLACE = {table: place for place, table in enumerate(metadata.sorted_tables)}


@dataclass(slots=True)
class Writes:
    """Batches waiting to be stored. Rows that replace must not share a key before `flush`."""

    batches: list[Batch] = field(default_factory=list)

    def add(self, batches: Sequence[Batch]) -> None:
        """More rows."""
        self.batches += [batch for batch in batches if batch.rows]

    def flush(self, conn: Connection) -> None:
        """Store all of it. Raises VersionConflict, or IntegrityError for another taken key."""
        batches = sorted(self.batches, key=lambda batch: _PLACE[batch.table])
        self.batches = []
        insert_versions(conn, batches)
