"""Imported files, what became of each row, and which rows were seen before."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from fhir_hub_bridge.store.buckets import bucket_of, bucket_of_key
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.rows import Batch, insert_all
from fhir_hub_bridge.store.tables import import_file, import_row, row_seen


def begin_import(conn: Connection, opened: Mapping[str, Any]) -> None:
    """Note that this file is being read: id, name, digest, layout, sender, at."""
    row = {
        "bucket": bucket_of("File", opened["id"]),
        "id": opened["id"],
        "name": opened["name"],
        "digest": opened["digest"],
        "layout": opened["layout"],
        "sender": opened["sender"],
        "started_at": to_micros(opened["at"]),
        "summary": "",
    }
    insert_all(conn, [Batch(import_file, [row])])


def end_import(conn: Connection, file_id: str, summary: str, at: datetime) -> None:
    """Note that the file is done, with its summary (JSON)."""
    conn.execute(
        update(import_file)
        .where(import_file.c.bucket == bucket_of("File", file_id), import_file.c.id == file_id)
        .values(summary=summary, ended_at=to_micros(at))
    )


def seen_rows(conn: Connection, digests: Sequence[str]) -> frozenset[str]:
    """Which of these rows were recorded before; rows in review or rejected are looked at again."""
    found = conn.execute(
        select(row_seen.c.digest).where(
            row_seen.c.digest.in_(digests),
            row_seen.c.bucket.in_({bucket_of_key(d) for d in digests}),
            row_seen.c.outcome == "recorded",
        )
    ).scalars()
    return frozenset(found)


def row_batches(file_id: str, facts: Iterable[Mapping[str, Any]]) -> list[Batch]:
    """The rows that keep each fact: its line, outcome, rule, referral, issues, cells and digest."""
    bucket = bucket_of("File", file_id)
    kept: list[dict[str, Any]] = []
    seen: dict[str, dict[str, Any]] = {}
    for fact in facts:
        kept.append(
            {
                "bucket": bucket,
                "file_id": file_id,
                "line": fact["line"],
                "outcome": fact["outcome"],
                "rule": fact["rule"],
                "referral_id": fact["referral_id"],
                "cells": json.dumps(fact["cells"]),
                "issues": json.dumps(fact["issues"]),
            }
        )
        known = fact["outcome"] in ("recorded", "unchanged")
        seen[fact["digest"]] = {
            "bucket": bucket_of_key(fact["digest"]),
            "digest": fact["digest"],
            "outcome": "recorded" if known else fact["outcome"],
            "file_id": file_id,
            "line": fact["line"],
        }
    return [
        Batch(import_row, kept),
        Batch(row_seen, list(seen.values()), replace=("bucket", "digest")),
    ]
