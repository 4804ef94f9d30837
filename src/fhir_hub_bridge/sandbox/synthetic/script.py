"""The whole cast as one JSON document, for a program that plays it and looks how it ends.

Everything that anybody sends is in it, ready: Bundles, the plan's steps, the files' rows.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Any

from fhir_hub_bridge.sandbox.synthetic.bundle import referral_bundle
from fhir_hub_bridge.sandbox.synthetic.partners import PARTNERS
from fhir_hub_bridge.sandbox.synthetic.rtf import rtf_rows, stray_rows
from fhir_hub_bridge.sandbox.synthetic.services import SERVICES
from fhir_hub_bridge.sandbox.synthetic.story import ROUNDS, CastEntry, cast

JsonObject = dict[str, Any]


def whole_script(seed: int = 1, *, today: date) -> JsonObject:
    """Partners, referrals with their expected ends, and every round's files; dated `today`."""
    entries = cast(seed, today=today)
    return {
        "seed": seed,
        "today": today.isoformat(),
        "rounds": ROUNDS,
        "partners": [asdict(partner) for partner in PARTNERS.values()],
        "referrals": [_referral(entry) for entry in entries],
        "files": [
            {"round": round_, "service": service, "rows": rows}
            for round_ in range(1, ROUNDS + 1)
            for service, rows in rtf_rows(entries, round_=round_, produced_on=today).items()
            if rows
        ],
        "strays": [{"fate": fate, "row": row} for fate, row in stray_rows(seed, today=today)],
    }


def _referral(entry: CastEntry) -> JsonObject:
    return {
        "identifier": entry.identifier,
        "service": entry.service,
        "service_label": SERVICES[entry.service].label,
        "requester": entry.requester,
        "channel": entry.channel,
        "plot": entry.plot,
        "is_closed_loop": entry.is_closed_loop,
        "is_outage": entry.is_outage,
        "expected_end": entry.expected_end,
        "expected_notices": list(entry.expected_notices),
        "notices_end": entry.notices_end,
        "bundle": referral_bundle(entry),
        "steps": list(entry.steps),
    }
