"""What tests of searches read in an answer."""

from __future__ import annotations

from typing import Any

import httpx


def ids(bundle: dict[str, Any], mode: str = "match") -> list[str]:
    """The ids of a searchset's entries of one mode, in order."""
    entries = [entry for entry in bundle.get("entry", ()) if entry["search"]["mode"] == mode]
    return [entry["resource"]["id"] for entry in entries]


def link(bundle: dict[str, Any], relation: str) -> str | None:
    """The address of a link, None without it."""
    return next((e["url"] for e in bundle["link"] if e["relation"] == relation), None)


async def asked(client: httpx.AsyncClient, query: str) -> dict[str, Any]:
    """The searchset that answers a query below the base."""
    answer = await client.get(f"/fhir/{query}")
    assert answer.status_code == 200, answer.text
    bundle: dict[str, Any] = answer.json()
    return bundle


async def matches(client: httpx.AsyncClient, query: str) -> str:
    """The ids of all matches of a query, in order and with spaces between."""
    return " ".join(ids(await asked(client, query)))
