"""Files: how fast rows are read, translated and recorded."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path

from bench.databases import Databases, a_bridge
from bench.figures import Figure, median
from bench.made_up import (
    PLAN,
    PROVIDER,
    clinic,
    headings,
    open_referrals,
    register,
    row_cells,
    rtf_file,
)
from bench.sizes import Sizes
from fhir_hub_bridge.intake.import_file import ImportSummary, import_file
from fhir_hub_bridge.mapping.catalog import Catalog, load_catalog
from fhir_hub_bridge.mapping.referral_to_fhir import ResourceIds, Translating, translate
from fhir_hub_bridge.mapping.row_to_referral import RowUpdate, read_header, read_row
from fhir_hub_bridge.mapping.sheet import Sheet
from fhir_hub_bridge.referral.deadlines import local_date
from fhir_hub_bridge.referral.lifecycle import apply, receive
from fhir_hub_bridge.referral.model import (
    Assign,
    EventKind,
    Evidence,
    Party,
    Refer,
    ReferralId,
    Told,
)
from fhir_hub_bridge.settings import Settings, shipped
from fhir_hub_bridge.wiring import Bridge

_LAYOUT = "rtf-ecm"


def pure(sizes: Sizes) -> Iterator[Figure]:
    """Reading alone, and the whole way to resources; no database, one core."""
    catalog = load_catalog(shipped("mappings"))
    layout, now = catalog.layouts[_LAYOUT], datetime.now(UTC)
    today = local_date(now, catalog.rulebook.calendar)
    header = read_header(layout, headings(), line=1)
    rows = [
        row_cells(n, on=today, status="Referral Loop Closed", reason="Services Received")
        for n in range(sizes.pure_rows)
    ]

    def read(line: int, cells: list[str]) -> RowUpdate:
        reading = read_row(layout, header, cells, line=line, today=today, catalog=catalog)
        assert reading.update is not None, reading.issues
        return reading.update

    def read_all() -> None:
        for line, cells in enumerate(rows, start=2):
            read(line, cells)

    def translate_all() -> None:
        for line, cells in enumerate(rows, start=2):
            _resources(read(line, cells), catalog, now=now)

    yield Figure("read a row (pure)", _rate(read_all, len(rows), sizes.repeats))
    yield Figure("row to resources (pure)", _rate(translate_all, len(rows), sizes.few))


async def committed(databases: Databases, kind: str, sizes: Sizes) -> AsyncIterator[Figure]:
    """Rows to committed loops on one database: opened, reported on, and sent again."""
    opened, reported = [], []
    for _ in range(sizes.few):
        settings = await databases.fresh(kind)
        opened.append(await _opening(settings, sizes.file_rows))
        settings = await databases.fresh(kind)
        reported.append(await _reporting(settings, sizes.file_rows))
    settings = await databases.fresh(kind)
    again = await _again(settings, sizes)
    yield Figure("rows that open a referral", median(opened), kind)
    yield Figure("rows that report on a referral", median(reported), kind)
    yield Figure("rows of a file sent again", median(again), kind)


async def _opening(settings: Settings, rows: int) -> float:
    async with a_bridge(settings) as bridge:
        await register(bridge.store, PLAN, PROVIDER)
        path = rtf_file(
            settings.data_folder / "rtf.csv", range(rows), on=_yesterday(bridge), status="Accepted"
        )
        rate, summary = await _imported(bridge, path, unmatched="open")
    assert summary.rows_recorded == rows, summary
    return rate


async def _reporting(settings: Settings, rows: int) -> float:
    async with a_bridge(settings) as bridge:
        referrer = clinic("http://127.0.0.1:9/fhir")  # nobody is told here
        await register(bridge.store, PLAN, PROVIDER, referrer)
        recording = bridge.recording()
        await open_referrals(
            bridge.store, recording, range(rows), requester=referrer, upto="assigned"
        )
        today = local_date(recording.now, recording.rulebook.calendar)
        path = rtf_file(settings.data_folder / "rtf.csv", range(rows), on=today, status="Accepted")
        rate, summary = await _imported(bridge, path)
    assert summary.rows_recorded == summary.notices_owed == rows, summary
    return rate


async def _again(settings: Settings, sizes: Sizes) -> list[float]:
    async with a_bridge(settings) as bridge:
        await register(bridge.store, PLAN, PROVIDER)
        # Rows without a status are kept as the provider's report: quick to store the first time.
        path = rtf_file(
            settings.data_folder / "rtf.csv",
            range(sizes.again_rows),
            on=_yesterday(bridge),
            status="",
        )
        text = path.read_text(encoding="utf-8").replace(f"{_yesterday(bridge):%m/%d/%Y}", "")
        path.write_text(text, encoding="utf-8")
        await _imported(bridge, path)
        rates = []
        for _ in range(sizes.repeats):
            rate, summary = await _imported(bridge, path)
            assert summary.rows_unchanged == sizes.again_rows, summary
            rates.append(rate)
    return rates


async def _imported(
    bridge: Bridge, path: Path, *, unmatched: str = ""
) -> tuple[float, ImportSummary]:
    started = time.perf_counter()
    summary = await import_file(
        path,
        layout=bridge.catalog.layouts[_LAYOUT],
        catalog=bridge.catalog,
        store=bridge.store,
        recording=bridge.recording(),
        out_folder=bridge.settings.data_folder,
        unmatched=unmatched,
    )
    return summary.rows_read / (time.perf_counter() - started), summary


def _yesterday(bridge: Bridge) -> date:
    return local_date(bridge.clock(), bridge.catalog.rulebook.calendar) - timedelta(days=1)


def _rate(work: Callable[[], None], items: int, repeats: int) -> float:
    rates = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        rates.append(items / (time.perf_counter() - started))
    return median(rates)


def _resources(update: RowUpdate, catalog: Catalog, *, now: datetime) -> int:
    """What policy `open` does with a row, short of the database; how many versions it drafts."""
    rulebook, report = catalog.rulebook, update.report
    assert report is not None
    told = Told(by=update.provider, learned_at=now, evidence=Evidence("file", source=_LAYOUT))
    refer = Refer(
        service=update.service,
        member=update.member,
        plan=Party(name=update.plan_name),
        requester=Party(),
        inferred=True,
    )
    numbers = count(1)
    by = Translating(rulebook, now, lambda: f"bench-{next(numbers)}")
    sheet = Sheet({})
    referral, events = receive(
        refer, id=ReferralId("bench"), clr_id="bench", told=told, rulebook=rulebook
    )
    ids = translate(referral, events, ids=ResourceIds(), sheet=sheet, by=by)
    number = len(events)
    for act in (Assign(update.provider, report.on), report):
        referral, events = apply(referral, act, told=told, rulebook=rulebook, last_event=number)
        number += len(events)
        for event in events:
            closed = event.kind is EventKind.LOOP_CLOSED
            at_event = referral if closed else replace(referral, closure=None)
            ids = translate(at_event, (event,), ids=ids, sheet=sheet, by=by)
    return len(sheet.drafts)
