"""Notices that waited for an agreement: once their recipient is registered, they can go out."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, exists, update

from fhir_hub_bridge.referral.parties import Partner
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.tables import notice, referral_event


def take_over(conn: Connection, partner: Partner, *, now: datetime) -> int:
    """Give the pending notices without a method to this partner's agreement; how many there were.

    Their bytes stay as frozen at commit, a FHIR message: only an agreement by FHIR takes them over,
    for any other they stay with the person they were escalated to. So do notices of facts before
    the agreement's `notify_from`.
    """
    if partner.agreement is None or partner.agreement.method != "fhir-push":
        return 0
    known_as = [partner.id, *(f"{kind}:{v}" for kind, v in _numbers(partner) if v)]
    found = conn.execute(
        update(notice)
        .where(
            notice.c.state == "pending",
            notice.c.method == "",
            notice.c.recipient.in_(known_as),
            exists().where(
                referral_event.c.bucket == notice.c.bucket,
                referral_event.c.referral_id == notice.c.referral_id,
                referral_event.c.number == notice.c.event_number,
                referral_event.c.on_date >= partner.agreement.notify_from.isoformat(),
            ),
        )
        .values(
            method=partner.agreement.method, recipient=partner.id, next_attempt_at=to_micros(now)
        )
    )
    return found.rowcount


def _numbers(partner: Partner) -> tuple[tuple[str, str], ...]:
    return ("npi", partner.npi), ("tin", partner.tin)
