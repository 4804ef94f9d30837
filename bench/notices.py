"""Notices: how fast a backlog drains, and how soon after its commit one is told."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import date
from typing import Any

import httpx
from sqlalchemy import Connection, func, select

from bench.databases import POSTGRESQL, Databases, a_bridge
from bench.figures import Figure, median, percentile
from bench.made_up import PLAN, PROVIDER, clinic, open_referrals, register
from bench.servers import partner, serving, working
from bench.sizes import Sizes
from fhir_hub_bridge.api.media_types import FHIR_JSON
from fhir_hub_bridge.referral.parties import Partner
from fhir_hub_bridge.sandbox.plan_acts import act_bundle
from fhir_hub_bridge.store.tables import notice, notice_attempt
from fhir_hub_bridge.store.transaction import Store

_GIVE_UP_AFTER = 120.0  # seconds
_PARTNER_MS = 20
_BETWEEN = 0.02  # seconds
_WARM_UP = 10


async def backlog(databases: Databases, kind: str, sizes: Sizes) -> AsyncIterator[Figure]:
    """Notices a second from a backlog to a partner that answers after 20 ms.

    Counted from the first attempt to the last, so that starting the workers does not count.
    """
    rates = []
    for _ in range(sizes.few):
        settings = await databases.fresh(kind)
        with partner(delay_ms=_PARTNER_MS) as address:
            async with a_bridge(settings) as bridge:
                told = clinic(f"{address}/fhir")
                await register(bridge.store, PLAN, PROVIDER, told)
                await open_referrals(
                    bridge.store,
                    bridge.recording(),
                    range(sizes.backlog),
                    requester=told,
                    upto="decided",
                )
                with working(settings, processes=2 if kind == POSTGRESQL else 1):
                    await _confirmed(bridge.store, sizes.backlog)
                span = await bridge.store.read(_seconds_of_attempts)
        rates.append(sizes.backlog / span)
    yield Figure("notices of a backlog", median(rates), kind)


async def latency(databases: Databases, kind: str, sizes: Sizes) -> AsyncIterator[Figure]:
    """From commit to the partner's 2xx, with `serve`, its worker and a partner as processes.

    The commit is taken to be when the writer has its answer, which comes after it. Writes come one
    by one, each the plan's approval of one referral.
    """
    settings = await databases.fresh(kind)
    with partner(delay_ms=0) as address:
        async with a_bridge(settings) as bridge:
            told = clinic(f"{address}/fhir")
            await register(bridge.store, PLAN, PROVIDER, told)
            await open_referrals(
                bridge.store,
                bridge.recording(),
                range(_WARM_UP + sizes.told),
                requester=told,
                upto="referred",
            )
            with serving(settings, workers=True) as base:
                tasks = await _tasks_of(base, requester=told)
                await _approve(base, tasks[:_WARM_UP])
                await _confirmed(bridge.store, _WARM_UP)  # now the worker is there
                answered = await _approve(base, tasks[_WARM_UP:])
                await _confirmed(bridge.store, len(tasks))
            confirmed = await bridge.store.read(_confirmed_at)
    milliseconds = [
        max(0.0, (end - start) * 1000)
        for start, end in zip(answered, confirmed[_WARM_UP:], strict=True)
    ]
    yield Figure("notice, commit to told, p50", percentile(milliseconds, 0.5), kind)
    yield Figure("notice, commit to told, p99", percentile(milliseconds, 0.99), kind)


async def _tasks_of(base: str, *, requester: Partner) -> list[dict[str, Any]]:
    """The Tasks of every referral of this requester."""
    page = f"{base}/fhir/Task?requester=Organization/{requester.id}&_count=200"
    tasks: list[dict[str, Any]] = []
    async with httpx.AsyncClient(timeout=30) as client:
        while page:
            bundle = (await client.get(page)).json()
            tasks += [entry["resource"] for entry in bundle.get("entry", [])]
            page = next((x["url"] for x in bundle["link"] if x["relation"] == "next"), "")
    return tasks


async def _approve(base: str, tasks: Sequence[dict[str, Any]]) -> list[float]:
    """Approve these, one by one; when each answer came, in seconds since 1970."""
    answered = []
    async with httpx.AsyncClient(headers={"Content-Type": FHIR_JSON}, timeout=30) as client:
        for task in tasks:
            act = act_bundle(
                task,
                {"act": "decide", "status": "approved"},
                plan=str(PLAN.id),
                today=date.fromisoformat(task["authoredOn"][:10]),
                uuid=str(uuid.uuid4()),
                if_match=f'W/"{task["meta"]["versionId"]}"',
            )
            (await client.post(f"{base}/fhir", json=act)).raise_for_status()
            answered.append(time.time())
            await asyncio.sleep(_BETWEEN)
    return answered


async def _confirmed(store: Store, count: int) -> None:
    give_up_at = time.monotonic() + _GIVE_UP_AFTER
    while (found := await store.read(_count_confirmed)) < count:
        if time.monotonic() > give_up_at:
            raise RuntimeError(f"only {found} of {count} notices were confirmed")
        await asyncio.sleep(0.1)


def _count_confirmed(conn: Connection) -> int:
    return conn.execute(
        select(func.count()).select_from(notice).where(notice.c.state == "confirmed")
    ).scalar_one()


def _seconds_of_attempts(conn: Connection) -> float:
    first, last = conn.execute(
        select(func.min(notice_attempt.c.started_at), func.max(notice_attempt.c.ended_at))
    ).one()
    return float(last - first) / 1_000_000


def _confirmed_at(conn: Connection) -> list[float]:
    """In the order they were owed, in seconds since 1970."""
    found = conn.execute(select(notice.c.confirmed_at).order_by(notice.c.owed_at))
    return [at / 1_000_000 for at in found.scalars()]
