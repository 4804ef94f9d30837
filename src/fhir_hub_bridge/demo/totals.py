"""The totals, as one JSON object and as one verdict.

`notices_lost`, `duplicates_received` and the outage's states come from the partners' journals;
the rest from the store and from what the commands printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from fhir_hub_bridge.demo.ending import closed_as_expected, differences, should_close
from fhir_hub_bridge.demo.journals import (
    OUTAGE_STATES,
    Got,
    got,
    lost,
    read_lines,
    states_told,
    turned_away,
)
from fhir_hub_bridge.demo.play import ROW_COUNTS, Played
from fhir_hub_bridge.demo.stage import Stage
from fhir_hub_bridge.store.notice_records import NoticeCounts, NoticeRecord, count_notices


@dataclass(frozen=True, slots=True)
class Totals:
    """What the demo prints at its end, and what is not as it should be."""

    values: Mapping[str, Any]
    problems: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether everything ended as the script expects."""
        return not self.problems


async def add_up(
    stage: Stage, script: Mapping[str, Any], played: Played, *, seconds: float
) -> Totals:
    """Read the journals and the store once more, and compare."""
    referrals = script["referrals"]
    counts = await stage.bridge.store.read(count_notices, now=stage.bridge.clock())
    notices = [notice for stood in played.found.values() for _, notice in stood.notices]
    frozen = {notice.id: notice.sha256 for notice in notices}
    ehr, hub = read_lines(stage.ehr.journal), read_lines(stage.hub.journal)
    arrived = got([*ehr, *hub], frozen=frozen)
    missing = lost(arrived, due=[n.id for n in notices if _had_to_arrive(n)])
    outage = next(r["identifier"] for r in referrals if r["is_outage"])
    told = states_told(ehr, outage, frozen=frozen)
    delivered = sum(1 for _ in _in_order(told))
    values: dict[str, Any] = {
        "loops_total": sum(1 for r in referrals if r["is_closed_loop"]),
        "loops_expected_closed": sum(1 for r in referrals if should_close(r)),
        "loops_closed": closed_as_expected(referrals, played.found),
        "notices_owed": counts.owed,
        "notices_confirmed": counts.confirmed,
        "notices_withheld": counts.withheld,
        "notices_escalated": counts.escalated,
        "notices_pending": counts.pending,
        "notices_lost": len(missing),
        "notices_late": counts.late,
        "duplicates_received": arrived.duplicates,
        "outage_states_delivered": delivered,
        "outage_states": told,
        "outage_tries_refused": turned_away(ehr, outage),
        "outage_seconds": round(played.outage_seconds, 1),
        **{name: played.rows[name] for name in ROW_COUNTS},
        "files_refused": played.files_refused,
        "journal_path": str(stage.ehr.journal),
        "journal_paths": [str(stage.ehr.journal), str(stage.plan.journal), str(stage.hub.journal)],
        "seconds": round(seconds, 1),
        **_measured(stage),
    }
    problems = [
        *played.troubles,
        *differences(referrals, played.found),
        *_broken_laws(values, counts, arrived),
    ]
    return Totals({**values, "problems": problems}, tuple(problems))


def _had_to_arrive(notice: NoticeRecord) -> bool:
    """All but what was withheld, or has no agreement to go by."""
    return notice.state != "withheld" and bool(notice.method)


def _in_order(told: list[str]) -> list[str]:
    """The outage's states as far as they came in their order."""
    pairs = zip_longest(told, OUTAGE_STATES)
    kept: list[str] = []
    for state, wanted in pairs:
        if state != wanted:
            break
        kept.append(state)
    return kept


def _measured(stage: Stage) -> dict[str, Any]:
    memory = stage.memory_mib()
    return {
        "memory_mib": round(sum(memory.values()), 1),
        **{f"memory_{name}_mib": mib for name, mib in memory.items()},
        "serve_ready_seconds": stage.ready_seconds,
    }


def _broken_laws(values: Mapping[str, Any], counts: NoticeCounts, arrived: Got) -> list[str]:
    rows = [int(values[name]) for name in ROW_COUNTS]
    laws = (
        (
            counts.owed == counts.confirmed + counts.withheld + counts.pending,
            "Not every notice owed is confirmed, withheld or pending.",
        ),
        (rows[0] == sum(rows[1:]), "Not every row read is accounted for."),
        (values["notices_lost"] == 0, f"{values['notices_lost']} notices were lost."),
        (arrived.strange == 0, f"{arrived.strange} messages arrived with other bytes than frozen."),
        (
            values["outage_states_delivered"] == len(OUTAGE_STATES),
            "Not every status of the outage was told, in order.",
        ),
        (
            values["loops_closed"] == values["loops_expected_closed"],
            "Not every loop that should close has closed.",
        ),
    )
    return [sentence for holds, sentence in laws if not holds]
