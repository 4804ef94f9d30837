"""The plan's acts from the command line: decide and assign, through the one write path."""

from __future__ import annotations

from fhir_hub_bridge.errors import BadSetting
from fhir_hub_bridge.intake.record_referral import Recorded, record_referral
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.referral.model import Act, Evidence, ReferralUpdate, Told
from fhir_hub_bridge.referral.parties import registered
from fhir_hub_bridge.store.partners import all_partners
from fhir_hub_bridge.store.referrals import load
from fhir_hub_bridge.store.unit import Connection
from fhir_hub_bridge.store.writes import Writes


def act_on_referral(
    conn: Connection, referral_id: str, act: Act, *, by: str, recording: Recording
) -> Recorded:
    """The unit: record what the partner `by` (a partner id) decides about one referral.

    Raises Unknown for an unknown referral, BadSetting for an unknown partner, RuleBroken.
    """
    partners = all_partners(conn)
    partner = registered(by, partners)
    if partner is None:
        raise BadSetting(
            f"No partner is registered as '{by}'; name one with --by or as the operator."
        )
    told = Told(
        by=partner.party, learned_at=recording.now, evidence=Evidence("command", type(act).__name__)
    )
    writes = Writes()
    recorded = record_referral(
        conn,
        ReferralUpdate(told, (act,)),
        stored=load(conn, referral_id, lock=True),
        partners=partners,
        recording=recording,
        writes=writes,
    )
    writes.flush(conn)
    return recorded
