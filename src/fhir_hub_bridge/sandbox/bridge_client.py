"""How a pretend plan speaks to somebody's bridge: search, read and post, as plain FHIR R4.

The header `X-Partner` says who calls.
"""

from __future__ import annotations

import json
from typing import Any

import httpx

from fhir_hub_bridge.sandbox.journal import JsonObject

FHIR_JSON = "application/fhir+json"


class BridgeClient:
    """One partner's connection to a bridge; `base` is its FHIR base."""

    def __init__(self, *, partner: str) -> None:
        """Connect when first used."""
        headers = {"Accept": FHIR_JSON, "Content-Type": FHIR_JSON, "X-Partner": partner}
        self._http = httpx.AsyncClient(headers=headers, timeout=30, trust_env=False)

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def tasks(self, base: str, **query: str) -> list[JsonObject]:
        """All pages of a Task search. Raises httpx.HTTPError unless each is answered with 2xx."""
        found: list[JsonObject] = []
        answer = await self._http.get(f"{base}/Task", params=query)
        while True:
            page = answer.raise_for_status().json()
            found += [e["resource"] for e in page.get("entry", [])]
            links = [link["url"] for link in page.get("link", []) if link["relation"] == "next"]
            if not links:
                return [r for r in found if r.get("resourceType") == "Task"]
            answer = await self._http.get(answer.url.join(links[0]))

    async def task(self, base: str, task_id: str) -> tuple[JsonObject, str]:
        """One Task and its entity tag. Raises httpx.HTTPError."""
        answer = (await self._http.get(f"{base}/Task/{task_id}")).raise_for_status()
        task: JsonObject = answer.json()
        return task, answer.headers.get("etag") or f'W/"{task["meta"]["versionId"]}"'

    async def post(self, base: str, body: bytes) -> tuple[int, Any]:
        """Post a Bundle; its status and body, whatever they are. Raises httpx.HTTPError."""
        answer = await self._http.post(base, content=body)
        try:
            return answer.status_code, json.loads(answer.content)
        except ValueError:
            return answer.status_code, answer.text
