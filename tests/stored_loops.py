"""Loops in a database: requests asked, files imported, and what is stored of them afterwards."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select
from tests.builders import (
    CIN,
    HARBOR,
    NOW,
    a_bundle,
    a_catalog,
    a_claim_response,
    a_recording,
    assigned_output,
    decided_output,
    posted,
    put,
    referral_bundle,
    said,
)

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.intake.import_file import ImportSummary, import_file
from fhir_hub_bridge.intake.receive_fhir import Answered, Asked, receive
from fhir_hub_bridge.intake.record_referral import resource_ids
from fhir_hub_bridge.referral.lifecycle import rebuild
from fhir_hub_bridge.referral.model import Event, Referral
from fhir_hub_bridge.store.notice_records import NoticeRecord, notices_of
from fhir_hub_bridge.store.referrals import StoredReferral, events_of, load, referral_of_resource
from fhir_hub_bridge.store.resources import history, read
from fhir_hub_bridge.store.tables import metadata, referral, resource
from fhir_hub_bridge.store.transaction import Store

_seeds = count()


async def ask(store: Store, asked: Asked, *, now: datetime = NOW, **changes: Any) -> Answered:
    """One request, with randomness of its own."""
    recording = a_recording(now, f"seed{next(_seeds)}", **changes)
    return await receive(asked, store=store, recording=recording)


def written(answered: Answered) -> dict[str, str]:
    """The ids that a transaction's answer names, by resource type."""
    entries = json.loads(answered.body)["entry"]
    locations = [entry["response"]["location"] for entry in entries]
    return {location.split("/")[0]: location.split("/")[1] for location in locations}


async def refer(store: Store, number: str = "R-1", **parts: Any) -> str:
    """A referral is posted; the id of its Task."""
    answered = await ask(store, posted(referral_bundle(number, **parts)))
    return written(answered)["Task"]


async def now(store: Store, reference: str) -> Json:
    """A resource as it stands."""
    type_, id_ = reference.split("/")
    return (await store.read(read, type_, id_)).parsed()


async def versions(store: Store, reference: str) -> list[Json]:
    """Every version of a resource, oldest first."""
    type_, id_ = reference.split("/")
    return [v.parsed() for v in reversed(await store.read(history, type_, id_))]


async def plan_says(
    store: Store, task: str, *entries: Any, caller: str = "plan", **changes: Any
) -> Answered:
    """The plan puts its Task back with these elements changed, by a transaction with If-Match."""
    resource = await now(store, f"Task/{task}")
    version = resource["meta"]["versionId"]
    changed = (f"PUT Task/{task}", "", {**resource, **changes}, f'W/"{version}"')
    return await ask(store, posted(a_bundle(*entries, changed), caller=caller))


async def decide_and_assign(store: Store, task: str, provider: str = "harbor") -> str:
    """The plan approves and assigns; the id of the provider's Task."""
    await plan_says(store, task, output=[*decided_output(), *assigned_output(provider)])
    stored = await the_referral(store, task)
    return resource_ids(stored).assignments[-1].task


async def plan_decides(
    store: Store, task: str, status: str, *, assign: str = "", caller: str = "plan", **response: Any
) -> Answered:
    """The plan decides, with a ClaimResponse of its own, and assigns where `assign` says so."""
    urn = "urn:uuid:7d0d2e0a-0000-4000-8000-0000000000c1"
    claim = a_claim_response((await now(store, f"Task/{task}"))["for"], **response)
    output = [
        *decided_output(status, urn),
        *(assigned_output(assign) if assign else ()),
    ]
    return await plan_says(
        store, task, ("POST ClaimResponse", urn, claim), caller=caller, output=output
    )


async def provider_says(
    store: Store, task: str, *, caller: str = "harbor", if_match: int | None = None, **changes: Any
) -> Answered:
    """The provider puts its Task back with these elements changed."""
    resource = {**await now(store, f"Task/{task}"), **changes}
    return await ask(store, put(resource, caller=caller, if_match=if_match))


async def provider_tells(store: Store, task: str, status: str, on: date, **changes: Any) -> None:
    """The provider names the referral status and its date."""
    await provider_says(store, task, businessStatus=said(status, on), **changes)


async def the_referral(store: Store, task: str) -> StoredReferral:
    """The referral that a Task belongs to."""
    id_ = await store.read(referral_of_resource, "Task", task)
    return await store.read(load, id_)


async def events(store: Store, stored: StoredReferral) -> tuple[Event, ...]:
    """Its history."""
    return await store.read(events_of, stored.referral.id)


async def notices(store: Store, stored: StoredReferral) -> list[NoticeRecord]:
    """What it owes, in order."""
    return await store.read(notices_of, stored.referral.id)


async def referrals(store: Store) -> list[Referral]:
    """Every referral, each equal to what its events make of it."""

    def ids(conn: Connection) -> list[str]:
        return list(conn.execute(select(referral.c.id).order_by(referral.c.id)).scalars())

    found = [await store.read(load, id_) for id_ in await store.read(ids)]
    for stored in found:
        value = stored.referral
        again = rebuild(
            await events(store, stored), a_catalog().rulebook, id=value.id, clr_id=value.clr_id
        )
        assert again == value
    return [stored.referral for stored in found]


async def counts(store: Store) -> dict[str, int]:
    """How many rows each table has."""

    def count_all(conn: Connection) -> dict[str, int]:
        return {
            table.name: conn.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        }

    return await store.read_snapshot(count_all)


async def kinds(store: Store) -> Counter[str]:
    """How many resources of each type are stored."""

    def count_types(conn: Connection) -> Counter[str]:
        return Counter(conn.execute(select(resource.c.type)).scalars())

    return await store.read(count_types)


HEADINGS = {
    "plan": "Primary Payer (MCP) Identifier",
    "cin": "Member Client Index Number (CIN)",
    "family": "Member Last Name",
    "provider": "ECM Provider Name",
    "npi": "ECM Provider National Provider Identifier (NPI)",
    "tin": "ECM Provider Tax ID Number (TIN)",
    "period": "Member Information File Reporting Period",
    "status": "Referral Status",
    "on": "Date of Referral Status Update",
    "reason": "Reason for Referral Loop Closure",
    "text": "Referral Loop Closure Comment",
}


def a_row(**cells: str) -> dict[str, str]:
    """A row of an ECM file about a made-up member at Harbor, accepted."""
    row = {
        "plan": "MCP000",
        "cin": CIN,
        "family": "Madeup",
        "npi": HARBOR.npi,
        "period": "2026-11",
        "status": "Accepted",
        "on": "11/09/2026",
    }
    return row | cells


def a_file(folder: Path, rows: Sequence[Mapping[str, str]], name: str = "rtf.csv") -> Path:
    """An ECM file with these rows."""
    path = folder / name
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(HEADINGS.values())
        lines.writerows([row.get(cell, "") for cell in HEADINGS] for row in rows)
    return path


async def imported(store: Store, path: Path, **how: Any) -> ImportSummary:
    """The file, read by the ECM layout."""
    catalog = a_catalog()
    layout = catalog.layout(how.pop("layout", "rtf-ecm"))
    recording = a_recording(how.pop("at", NOW), f"seed{next(_seeds)}")
    return await import_file(
        path,
        layout=layout,
        catalog=catalog,
        store=store,
        recording=recording,
        out_folder=path.parent / "out",
        **how,
    )


def facts(summary: ImportSummary) -> tuple[int, int, int, int]:
    """Recorded, unchanged, in review, rejected; always all rows that were read."""
    four = (
        summary.rows_recorded,
        summary.rows_unchanged,
        summary.rows_review,
        summary.rows_rejected,
    )
    assert sum(four) == summary.rows_read
    return four
