"""Which referral a provider's report speaks of, where a file gives no referral's number.

Plan, member and service are the same already; the provider and the dates decide, or a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from fhir_hub_bridge.referral.model import Party, Referral, Report


def spoken_of(
    candidates: Sequence[Referral], provider: Party, report: Report | None
) -> Sequence[Referral]:
    """The referral a report speaks of; none, or several where a person must say.

    One of this provider before others: that was told this very thing before; else an open one that
    the provider had by then; else a closed one. Of another provider only an open one.
    """
    here = [c for c in candidates if _is_at(c, provider)]
    told_before = [c for c in here if report and _was_told(c, provider, report)]
    still_open = [c for c in candidates if c.closure is None]
    groups = (
        told_before[:1],  # whichever it is, nothing changes
        [c for c in still_open if c in here and (report is None or _had(c, provider, report.on))],
        [c for c in here if c.closure is not None],
        [c for c in still_open if c in here],
        still_open,
    )
    return next((group for group in groups if group), ())


def _was_told(referral: Referral, provider: Party, report: Report) -> bool:
    return any(
        (entry.status, entry.on) == (report.status, report.on)
        for assignment in referral.assignments
        if assignment.provider.is_same_as(provider)
        for entry in assignment.statuses
    )


def _had(referral: Referral, provider: Party, on: date) -> bool:
    """Whether it was assigned to this provider by that day."""
    return any(a.on <= on for a in referral.assignments if a.provider.is_same_as(provider))


def _is_at(referral: Referral, provider: Party) -> bool:
    return any(a.provider.is_same_as(provider) for a in referral.assignments)
