"""How fast notices go out: the schedule of retries, the lease, how much at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from fhir_hub_bridge.errors import BadSetting


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast notices go out. Raises BadSetting for values that cannot work.

    `schedule` are the pauses after attempts without an answer, the last one repeating. `deadline`
    is what the connectors take for one attempt at most; a lease must outlast it.
    """

    schedule: tuple[timedelta, ...]
    lease: timedelta = timedelta(seconds=60)
    deadline: timedelta = timedelta(seconds=30)
    batch: int = 32  # notices of one claim
    partner_concurrency: int = 16  # sends to one partner at once
    poll: timedelta = timedelta(seconds=0.5)  # the longest pause between claims

    def __post_init__(self) -> None:
        """Check the values against each other."""
        if not self.schedule or self.schedule[0] <= timedelta(0):
            raise BadSetting("The retry schedule needs at least one pause, and none of no length.")
        if any(later < sooner for sooner, later in pairwise(self.schedule)):
            raise BadSetting("The pauses of the retry schedule must not shrink.")
        if self.lease < self.deadline * 1.5:
            raise BadSetting("A lease must be at least half as long again as one attempt may take.")
        if min(self.batch, self.partner_concurrency) < 1:
            raise BadSetting("Batch and partner concurrency must be at least 1.")
