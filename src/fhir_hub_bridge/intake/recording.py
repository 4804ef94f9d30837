"""What every recording needs besides the update: rules, moment, randomness, names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from fhir_hub_bridge.fhir.packages import EMPTY_LIBRARY, Library
from fhir_hub_bridge.referral.model import PartnerId
from fhir_hub_bridge.referral.rulebook import Rulebook
from fhir_hub_bridge.store.buckets import mint


@dataclass(frozen=True, slots=True)
class Recording:
    """The context of one unit of recording. A unit may run twice and must mint the same ids."""

    rulebook: Rulebook
    operator: str  # partner id, or "" when the instance has none
    base_url: str  # our FHIR base, no slash at the end
    escalation_owner: str
    now: datetime  # aware, UTC
    seed: bytes
    library: Library = EMPTY_LIBRARY  # the profiles that what a client writes must keep

    def minter(self, *salt: str) -> Callable[[int], str]:
        """A function that mints ids in a bucket; the same salt gives the same ids again."""
        count = 0

        def next_id(bucket: int) -> str:
            nonlocal count
            count += 1
            text = "\x1f".join((*salt, str(count))).encode()
            return mint(bucket, hashlib.sha256(self.seed + text).digest())

        return next_id

    @property
    def operator_id(self) -> PartnerId | None:
        """The operator's partner id, if one is set."""
        return PartnerId(self.operator) if self.operator else None
