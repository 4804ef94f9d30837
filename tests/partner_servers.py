"""A partner's FHIR server that tests hold in memory, read through the reader's own interface."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fhir_hub_bridge.connectors.fhir_reader import FhirReader, Found, NoAnswer, NotFound, Reply
from fhir_hub_bridge.fhir.codec import Json


@dataclass
class PretendServer(FhirReader):
    """Resources by base and `Type/id`.

    A base in `down` does not answer, one in `gates` not before its gate is open; one in `nonsense`
    gives this for every search.
    """

    held: dict[tuple[str, str], Json] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    nonsense: dict[str, Json] = field(default_factory=dict)

    def put(self, base: str, resource: Json) -> None:
        """Hold this version of it."""
        self.held[base, f"{resource['resourceType']}/{resource['id']}"] = resource

    async def get(self, server: str, path: str, query: Mapping[str, str] | None = None) -> Reply:
        """A resource, or those with an identifier."""
        self.asked.append((server, path))
        if server in self.gates:
            await self.gates[server].wait()
        if server in self.down:
            return NoAnswer("down")
        if query is None:
            found = self.held.get((server, path))
            return Found(found) if found is not None else NotFound("HTTP 404", 404)
        if server in self.nonsense:
            return Found(self.nonsense[server])
        system, _, value = query["identifier"].partition("|")
        wanted = {"system": system, "value": value}
        entries: list[dict[str, Any]] = [
            {"resource": r}
            for (base, reference), r in self.held.items()
            if base == server
            and reference.startswith(f"{path}/")
            and any(wanted.items() <= i.items() for i in r.get("identifier", []))
        ]
        return Found({"resourceType": "Bundle", "type": "searchset", "entry": entries})
