"""The versions a translation writes, in order, on top of what is stored.

The translator asks it where a resource stands and puts the next version on it; the write path
stores what it holds. It knows nothing of the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json


@dataclass(frozen=True, slots=True)
class Draft:
    """One version to be stored."""

    resource: Json
    version: int

    @property
    def reference(self) -> str:
        """`Type/id`."""
        return f"{self.resource['resourceType']}/{self.resource['id']}"


@dataclass(slots=True)
class Sheet:
    """Stored resources and their versions by `Type/id`, and the drafts on top of them."""

    stored: Mapping[str, tuple[Json, int]]
    edited: Mapping[str, Json] = field(default_factory=dict)  # what a sender now makes of it
    drafts: list[Draft] = field(default_factory=list)
    _newest: dict[str, tuple[Json, int]] = field(default_factory=dict)

    def now(self, reference: str) -> Json:
        """The body to go on from: drafted, else edited, else stored. Raises KeyError if none."""
        if reference in self._newest:
            return self._newest[reference][0]
        if reference in self.edited:
            return self.edited[reference]
        return self.stored[reference][0]

    def has(self, reference: str) -> bool:
        """Whether there is any."""
        return reference in self._newest or reference in self.stored

    def is_written(self, reference: str) -> bool:
        """Whether a draft of it is on the sheet."""
        return reference in self._newest

    def version(self, reference: str) -> int:
        """The newest version number; 0 when there is none."""
        newest = self._newest.get(reference) or self.stored.get(reference)
        return newest[1] if newest else 0

    def put(self, resource: Json, *, inferred: bool = False) -> None:
        """The next version; nothing if it says what the newest one says."""
        reference = f"{resource['resourceType']}/{resource['id']}"
        resource = _tagged(resource, inferred=inferred)
        before = self._newest.get(reference) or self.stored.get(reference)
        if before is not None and before[0] == resource:
            return
        draft = Draft(resource, self.version(reference) + 1)
        self.drafts.append(draft)
        self._newest[reference] = (resource, draft.version)


def _tagged(resource: Json, *, inferred: bool) -> Json:
    """With our `inferred` tag on it, or without one that an earlier version had."""
    meta = resource.get("meta", {})
    others = [tag for tag in meta.get("tag", []) if tag.get("system") != canonical.TAG]
    tags = [*others, {"system": canonical.TAG, "code": "inferred"}] if inferred else others
    kept = {k: v for k, v in meta.items() if k != "tag"} | ({"tag": tags} if tags else {})
    rest = {k: v for k, v in resource.items() if k != "meta"}
    return {**rest, "meta": kept} if kept else rest
