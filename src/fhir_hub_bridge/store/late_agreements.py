"""Notices that waited for an agreement: once their recipient has one, each goes out or is withheld.

Before it: `intake.register_partner`, and `delivery.clock` for what was recorded meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, select, true, update

from fhir_hub_bridge.referral.model import Party
from fhir_hub_bridge.referral.parties import Partner, recognise
from fhir_hub_bridge.store.instants import to_micros
from fhir_hub_bridge.store.keys import among
from fhir_hub_bridge.store.notice_endings import withhold
from fhir_hub_bridge.store.notice_rows import Told
from fhir_hub_bridge.store.partners import all_partners
from fhir_hub_bridge.store.referrals import party_key
from fhir_hub_bridge.store.tables import notice, referral_event

AT_ONCE: Final = 500  # notices of one unit of work
_WAITS: Final = and_(notice.c.state == "pending", notice.c.method == "")


def take_over(conn: Connection, *, before_go_live: bool, now: datetime, told: Told) -> int:
    """Settle the pending notices without a method whose recipient has an agreement by now.

    Where the rule `before_go_live` holds, those of facts before the agreement's `notify_from` are
    withheld. The others' bytes stay as frozen at commit, a FHIR message: an agreement by FHIR takes
    them over, for any other they stay with the person they were escalated to. Again it changes
    nothing. How many were settled; when at least AT_ONCE there may be more.
    """
    waiting = set(conn.execute(select(notice.c.recipient).where(_WAITS).distinct()).scalars())
    if not waiting:
        return 0
    partners = all_partners(conn)
    settled = 0
    for partner in partners:
        agreement = partner.agreement
        known_as = _known_as(partner, partners, among_these=waiting)
        if agreement is None or not known_as:
            continue
        early = referral_event.c.on_date < agreement.notify_from.isoformat()
        if before_go_live:
            by = f"the agreement of {partner.id}"
            withheld = _locked(conn, known_as, early)
            for _, id_ in withheld:
                withhold(conn, id_, rule="before-go-live", by=by, now=now, told=told)
            settled += len(withheld)
        if agreement.method == "fhir-push":
            taken = _locked(conn, known_as, ~early if before_go_live else true())
            conn.execute(
                update(notice)
                .where(among([notice.c.bucket, notice.c.id], taken))
                .values(
                    method=agreement.method,
                    recipient=partner.id,
                    next_attempt_at=to_micros(now),
                )
            )
            settled += len(taken)
    return settled


def _known_as(
    partner: Partner, partners: Sequence[Partner], *, among_these: Collection[str]
) -> set[str]:
    """The recipients among these that are this partner, by its id or a number of it alone."""
    found = {str(partner.id)}.intersection(among_these)
    for party in (Party(npi=partner.npi), Party(tin=partner.tin)):
        key = party_key(party)
        if key in among_these and recognise(party, partners).partner == partner.id:
            found.add(key)
    return found


def _locked(
    conn: Connection, recipients: Collection[str], condition: ColumnElement[bool]
) -> list[tuple[int, str]]:
    query = (
        select(notice.c.bucket, notice.c.id)
        .join(
            referral_event,
            and_(
                referral_event.c.bucket == notice.c.bucket,
                referral_event.c.referral_id == notice.c.referral_id,
                referral_event.c.number == notice.c.event_number,
            ),
        )
        .where(_WAITS, notice.c.recipient.in_(sorted(recipients)), condition)
        .order_by(notice.c.bucket, notice.c.id)
        .limit(AT_ONCE)
        .with_for_update(of=notice)
    )
    return [(bucket, id_) for bucket, id_ in conn.execute(query)]
