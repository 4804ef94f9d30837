"""Made-up referrals for the console: told, tried, proven, escalated, withheld; by the real path."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

from sqlalchemy import Connection
from tests.api_client import NOON, shipped_catalog

from fhir_hub_bridge.intake.record_referral import record_referral
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.mapping.notice_to_fhir import communication_told
from fhir_hub_bridge.referral.model import (
    Act,
    Assign,
    Decide,
    Evidence,
    Identifier,
    Member,
    PartnerId,
    Refer,
    ReferralStatus,
    ReferralUpdate,
    Report,
    Told,
)
from fhir_hub_bridge.referral.parties import Agreement, Partner
from fhir_hub_bridge.store.notice_rows import Attempt
from fhir_hub_bridge.store.outbox import claim, record
from fhir_hub_bridge.store.partners import all_partners, put_partner
from fhir_hub_bridge.store.referrals import StoredReferral, load
from fhir_hub_bridge.store.transaction import Store
from fhir_hub_bridge.store.writes import Writes

DAY = timedelta(days=1)
BEGIN = NOON - 10 * DAY

PLAN = Partner(PartnerId("sunrise"), "Sunrise Health Plan", "managed-care-plan")
CLINIC = Partner(
    PartnerId("clinic"),
    "Elm Street Clinic",
    "referring-entity",
    agreement=Agreement("fhir-push", "http://127.0.0.1:1/fhir", "2xx", date(2026, 1, 1), True),
)
SHELTER = Partner(PartnerId("shelter"), "Harbor Shelter", "referring-entity")
HEART = Partner(PartnerId("heart"), "Open Heart Housing", "provider")
BRIDGES = Partner(PartnerId("bridges"), "Bridges Community Care", "provider")
VALLEY = Partner(
    PartnerId("valley"),
    "Valley Hospital",
    "referring-entity",
    agreement=Agreement("fhir-push", "http://127.0.0.1:1/fhir", "2xx", date(2027, 1, 1)),
)
PARTNERS = (PLAN, CLINIC, SHELTER, VALLEY, HEART, BRIDGES)

MEMBER = Member(cin="91234567A", family="Example", given="Testina", birth_date=date(1970, 1, 1))


def recording_at(now: datetime, salt: str) -> Recording:
    """The context of one recording; the same salt mints the same ids."""
    return Recording(
        rulebook=shipped_catalog().rulebook,
        operator="sunrise",
        base_url="http://127.0.0.1:8480/fhir",
        escalation_owner="Rosa, referrals desk",
        now=now,
        seed=salt.encode().ljust(16, b"."),
    )


BY_FHIR = Evidence("fhir", source="POST Bundle")


async def tell(
    store: Store,
    *acts: Act,
    to: str = "",
    by: Partner = PLAN,
    at: datetime,
    channel: Evidence = BY_FHIR,
) -> str:
    """Record what a partner says of a referral (`to`, or a new one); its id."""
    told = Told(by=by.party, learned_at=at, evidence=channel)

    def unit(conn: Connection) -> str:
        stored: StoredReferral | None = load(conn, to, lock=True) if to else None
        writes = Writes()
        recorded = record_referral(
            conn,
            ReferralUpdate(told, acts),
            stored=stored,
            partners=all_partners(conn),
            recording=recording_at(at, f"{to}{at.timestamp()}"),
            writes=writes,
        )
        writes.flush(conn)
        return recorded.referral.id

    return await store.write(unit)


async def try_all(store: Store, *, at: datetime, outcome: str, status: int | None = None) -> None:
    """Try every notice that is due at this moment, with this outcome; lanes go on."""
    told = outcome == "accepted"
    attempt = Attempt(
        at, at + timedelta(seconds=1), outcome, "" if told else "503 from them", status
    )

    def unit(conn: Connection) -> int:
        claims = claim(conn, now=at, lease=timedelta(minutes=1), limit=50)
        for claimed in claims:
            after = None if told else at + timedelta(minutes=30)
            record(conn, claimed, attempt, next_attempt_at=after, told=communication_told)
        return len(claims)

    while await store.write(unit) and told:
        pass


def refer(service: str, number: int, *, by: Partner = CLINIC, plan: Partner = PLAN) -> Refer:
    """A referral of one made-up person."""
    return Refer(
        service=service,
        member=replace(MEMBER, cin=f"9123456{number}A"),
        plan=plan.party,
        requester=by.party,
        identifiers=(Identifier("https://ehr.example/referral", f"R-{number}"),),
        referred_on=BEGIN.date(),
    )


async def told_stories(store: Store) -> dict[str, str]:
    """Seven referrals, by what their story shows; the clock then stands at NOON."""

    def put(conn: Connection) -> None:
        for partner in PARTNERS:
            put_partner(conn, partner, at=BEGIN)

    await store.write(put)
    s = ReferralStatus
    told = await tell(store, refer("ecm", 1), by=CLINIC, at=BEGIN)
    await tell(
        store,
        Decide("approved", BEGIN.date(), number="A-77"),
        to=told,
        at=BEGIN + timedelta(hours=3),
    )
    await try_all(
        store, at=BEGIN + timedelta(hours=3, minutes=1), outcome="unavailable", status=503
    )
    await try_all(store, at=BEGIN + timedelta(hours=4), outcome="accepted", status=200)
    await tell(store, Assign(HEART.party, (BEGIN + DAY).date()), to=told, at=BEGIN + DAY)
    sheet = Evidence("file", source="rtf-ecm", file="harbor_november.csv", row=7)
    later = BEGIN + 6 * DAY
    for minute, (status, on) in enumerate(((s.OUTREACH_INITIATED, 3), (s.ACCEPTED, 2))):
        said = Report(status, (BEGIN + on * DAY).date(), provider=HEART.party)
        await tell(
            store, said, to=told, by=HEART, at=later + minute * timedelta(minutes=1), channel=sheet
        )
    done = Report(s.LOOP_CLOSED, later.date(), provider=HEART.party, reason="services-received")
    await tell(store, done, to=told, by=HEART, at=later + timedelta(hours=1), channel=sheet)
    await try_all(store, at=later + timedelta(hours=2), outcome="accepted", status=201)

    alone = await tell(store, refer("housing-deposits", 2, by=SHELTER), by=SHELTER, at=BEGIN + DAY)
    await tell(
        store,
        Decide("denied", BEGIN.date() + DAY, reason="Not covered"),
        to=alone,
        at=BEGIN + 2 * DAY,
    )

    late = await tell(store, refer("asthma-remediation", 3), by=CLINIC, at=BEGIN + 2 * DAY)
    await tell(store, Decide("approved", (BEGIN + 2 * DAY).date()), to=late, at=BEGIN + 3 * DAY)
    await tell(store, Assign(BRIDGES.party, (BEGIN + 3 * DAY).date()), to=late, at=BEGIN + 3 * DAY)
    no = Report(s.DECLINED, (BEGIN + 4 * DAY).date(), provider=BRIDGES.party, text="no room")
    await tell(store, no, to=late, by=BRIDGES, at=BEGIN + 4 * DAY)

    today = await tell(store, refer("medically-tailored-meals", 4), by=CLINIC, at=NOON - 3 * DAY)
    await tell(store, Decide("approved", (NOON - 2 * DAY).date()), to=today, at=NOON - 2 * DAY)

    withheld = await tell(store, refer("ecm", 7, by=VALLEY), by=VALLEY, at=NOON - 2 * DAY)
    await tell(store, Decide("approved", (NOON - DAY).date()), to=withheld, at=NOON - DAY)
    new = await tell(store, refer("recuperative-care", 5), by=CLINIC, at=NOON - timedelta(hours=1))
    outside = await tell(store, refer("doula", 6), by=CLINIC, at=NOON - timedelta(hours=2))
    return {
        "told": told,
        "alone": alone,
        "late": late,
        "today": today,
        "new": new,
        "outside": outside,
        "withheld": withheld,
    }
