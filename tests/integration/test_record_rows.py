"""A file's rows: which referral each speaks of, what becomes of it, and that none is lost."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Connection, select
from tests.builders import (
    CIN,
    HARBOR,
    HEARTH,
    HUB,
    a_partner,
    a_service_request,
    a_task,
    an_agreement,
    reason,
    register,
)
from tests.stored_loops import (
    a_file,
    a_row,
    counts,
    decide_and_assign,
    events,
    facts,
    imported,
    notices,
    now,
    provider_says,
    refer,
    referrals,
    the_referral,
    versions,
)

from fhir_hub_bridge.errors import OutcomeUnknown, Rejected, StoreBusy, Unknown, VersionConflict
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.intake import import_file
from fhir_hub_bridge.intake.import_file import ImportSummary
from fhir_hub_bridge.intake.record_referral import resource_ids
from fhir_hub_bridge.intake.record_rows import ImportContext, ReadRow, RowFact, record_rows
from fhir_hub_bridge.referral.model import EventKind, Party, ReferralStatus
from fhir_hub_bridge.store.buckets import bucket_of_key
from fhir_hub_bridge.store.tables import import_file as files
from fhir_hub_bridge.store.tables import import_row, referral
from fhir_hub_bridge.store.transaction import Store

OTHER_CIN = "91234567A"
CLOSED = {"status": "Referral Loop Closed", "reason": "Services Received"}


@pytest.fixture(autouse=True)
async def _partners(store: Store) -> None:
    await register(store)


@pytest.fixture
async def task(store: Store) -> str:
    """A referral of the clinic, assigned to Harbor on the 5th."""
    task = await refer(store)
    await decide_and_assign(store, task)
    return task


async def rules(store: Store) -> list[tuple[str, str]]:
    """Outcome and rule of every row read, in order."""

    def found(conn: Connection) -> list[tuple[str, str]]:
        query = select(import_row.c.outcome, import_row.c.rule).order_by(
            import_row.c.file_id, import_row.c.line
        )
        return [(outcome, rule) for outcome, rule in conn.execute(query)]

    return await store.read(found)


def review(summary: ImportSummary) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(Path(summary.summary_path).read_text())["review"]
    return found


async def test_a_row_finds_its_referral_and_moves_it(
    store: Store, task: str, tmp_path: Path
) -> None:
    summary = await imported(store, a_file(tmp_path, [a_row(on="11/20/2026")]))

    stored = await the_referral(store, task)
    told = (await events(store, stored))[-1]
    assert facts(summary) == (1, 0, 0, 0)
    assert summary.notices_owed == 1
    assert (told.kind, told.on) == (EventKind.STATUS_REPORTED, date(2026, 11, 20))
    assert told.told.by.partner == HARBOR.id
    assert (told.told.evidence.file, told.told.evidence.row) == ("rtf.csv", 2)
    theirs = resource_ids(stored).assignments[0].task
    assert (await now(store, f"Task/{theirs}"))["status"] == "accepted"


async def test_a_file_closes_the_loop(store: Store, task: str, tmp_path: Path) -> None:
    row = a_row(on="11/20/2026", **CLOSED)

    summary = await imported(store, a_file(tmp_path, [row]), sender="hub")

    stored = await the_referral(store, task)
    assert facts(summary) == (1, 0, 0, 0)
    assert stored.referral.closure
    assert stored.referral.closure.reason == "services-received"
    assert [t["status"] for t in await versions(store, f"Task/{task}")][-1] == "completed"
    assert (await notices(store, stored))[-1].type == "loop-closed"
    told = (await events(store, stored))[-1].told
    assert (told.by.partner, told.on_behalf_of.partner) == ("hub", "harbor")


async def test_the_same_row_again_changes_nothing(store: Store, task: str, tmp_path: Path) -> None:
    path = a_file(tmp_path, [a_row()])
    await imported(store, path)
    before = await counts(store)

    again = await imported(store, path)

    assert facts(again) == (0, 1, 0, 0)
    after = await counts(store)
    assert after == before | {"import_file": before["import_file"] + 1}


async def test_the_same_status_in_next_month_s_file_changes_nothing(
    store: Store, task: str, tmp_path: Path
) -> None:
    await imported(store, a_file(tmp_path, [a_row()]))
    before = (await the_referral(store, task)).referral

    again = await imported(store, a_file(tmp_path, [a_row(period="2026-12")], "december.csv"))

    assert facts(again) == (0, 1, 0, 0)
    assert (await the_referral(store, task)).referral == before


async def test_the_very_same_row_twice_in_one_file_is_recorded_once(
    store: Store, task: str, tmp_path: Path
) -> None:
    blank = a_row(status="", on="")

    summary = await imported(store, a_file(tmp_path, [a_row(), a_row(), blank, blank]))

    assert facts(summary) == (2, 2, 0, 0)


async def test_a_status_after_the_closure_goes_to_a_person_once(
    store: Store, task: str, tmp_path: Path
) -> None:
    path = a_file(tmp_path, [a_row(on="11/10/2026", **CLOSED), a_row(on="11/12/2026")])

    first, again = await imported(store, path), await imported(store, path)

    assert facts(first) == (1, 0, 1, 0)
    assert review(first) == [{"line": 3, "rule": "after-closure"}]
    assert facts(again) == (0, 2, 0, 0)
    stored = await the_referral(store, task)
    assert stored.referral.closure
    assert (await events(store, stored))[-1].flags == ("after-closure",)


async def test_a_row_about_a_closed_loop_at_its_provider_is_its_own(
    store: Store, task: str, tmp_path: Path
) -> None:
    await imported(store, a_file(tmp_path, [a_row(**CLOSED)], "november.csv"))

    late = await imported(
        store,
        a_file(tmp_path, [a_row(on="11/15/2026", status="Outreach Initiated")], "late.csv"),
        unmatched="open",
    )

    assert facts(late) == (0, 0, 1, 0)
    assert len(await referrals(store)) == 1


@pytest.mark.parametrize(
    ("policy", "with_status", "blank"),
    [
        ("", (0, 0, 1, 0), (1, 0, 0, 0)),
        ("keep", (0, 0, 1, 0), (1, 0, 0, 0)),
        ("review", (0, 0, 1, 0), (0, 0, 1, 0)),
        ("open", (1, 0, 0, 0), (1, 0, 0, 0)),
    ],
)
async def test_a_row_that_speaks_of_no_referral_follows_the_policy(
    store: Store,
    tmp_path: Path,
    policy: str,
    with_status: tuple[int, ...],
    blank: tuple[int, ...],
) -> None:
    told = a_file(tmp_path, [a_row()], "told.csv")
    silent = a_file(tmp_path, [a_row(cin=OTHER_CIN, status="", on="")], "silent.csv")

    one = await imported(store, told, unmatched=policy)
    other = await imported(store, silent, unmatched=policy)

    assert (facts(one), facts(other)) == (with_status, blank)
    assert len(await referrals(store)) == (2 if policy == "open" else 0)


async def test_a_referral_opened_from_a_file_invents_no_referrer_and_no_date(
    store: Store, tmp_path: Path
) -> None:
    summary = await imported(store, a_file(tmp_path, [a_row(**CLOSED)]), unmatched="open")

    (opened,) = await referrals(store)
    assert facts(summary) == (1, 0, 0, 0)
    assert summary.notices_owed == 0
    assert (opened.referred_on, opened.requester, opened.inferred) == (None, Party(), True)
    assert opened.closure
    stored = await the_referral(store, (await all_plan_tasks(store))[0])
    assert await notices(store, stored) == []
    task = await now(store, f"Task/{resource_ids(stored).task}")
    assert task["requester"] == task["owner"]
    request = await now(store, f"ServiceRequest/{resource_ids(stored).service_request}")
    assert "authoredOn" not in request
    assert request["status"] == "completed"
    first = (await versions(store, f"Task/{resource_ids(stored).task}"))[0]
    for nobody_made in (request, first):
        assert nobody_made["meta"]["tag"] == [{"system": canonical.TAG, "code": "inferred"}]


async def all_plan_tasks(store: Store) -> list[str]:
    def ids(conn: Connection) -> list[str]:
        states = conn.execute(select(referral.c.resources)).scalars()
        return [json.loads(state)["task"] for state in states]

    return await store.read(ids)


async def test_rows_of_a_rejected_kind_name_row_column_and_rule(
    store: Store, tmp_path: Path
) -> None:
    rows = [
        a_row(cin="12"),
        a_row(status="Nearly there"),
        a_row(on="11/27/2026"),
        a_row(status="Referral Loop Closed"),
        a_row(reason="Services Received"),
    ]

    summary = await imported(store, a_file(tmp_path, rows))

    with Path(summary.rejects_path).open(newline="") as file:
        rejects = [(r["Reject row"], r["Reject rule"]) for r in csv.DictReader(file)]
    assert facts(summary) == (0, 0, 0, 5)
    assert rejects == [
        ("2", "cin-form"),
        ("3", "status-unknown"),
        ("4", "date-in-future"),
        ("5", "closed-without-reason"),
        ("6", "reason-without-closure"),
    ]
    assert Path(summary.rejects_path).stat().st_mode & 0o777 == 0o600


async def test_a_rule_of_the_program_rejects_a_row_and_the_next_ones_go_on(
    store: Store, task: str, tmp_path: Path
) -> None:
    rows = [a_row(on="10/01/2026"), a_row(on="11/20/2026")]

    summary = await imported(store, a_file(tmp_path, rows))

    assert facts(summary) == (1, 0, 0, 1)
    assert await rules(store) == [("rejected", "before-referral"), ("recorded", "")]


async def test_several_open_referrals_go_to_a_person_unless_the_provider_tells(
    store: Store, task: str, tmp_path: Path
) -> None:
    own = {"reference": "Organization/harbor"}
    second = await refer(
        store, request=a_service_request("H-1", requester=own), task=a_task(requester=own)
    )
    await decide_and_assign(store, second, "hearth")
    third = a_partner("third", npi="1999999992")
    await register(store, [third])
    path = a_file(tmp_path, [a_row(npi=third.npi), a_row(npi=HEARTH.npi, on="11/20/2026")])

    summary = await imported(store, path, unmatched="open")

    assert facts(summary) == (1, 0, 1, 0)
    assert review(summary) == [{"line": 2, "rule": "several-referrals"}]
    assert (await the_referral(store, second)).events == 4


async def test_several_closed_referrals_at_one_provider_go_to_a_person(
    store: Store, task: str, tmp_path: Path
) -> None:
    theirs = resource_ids(await the_referral(store, task)).assignments[0].task
    await provider_says(store, theirs, status="cancelled", statusReason=reason("member-declined"))
    second = await refer(store, "R-2")
    again = await decide_and_assign(store, second)
    await provider_says(store, again, status="cancelled", statusReason=reason("member-declined"))

    summary = await imported(store, a_file(tmp_path, [a_row()]), unmatched="open")

    assert facts(summary) == (0, 0, 1, 0)
    assert review(summary) == [{"line": 2, "rule": "several-referrals"}]


async def test_a_row_sent_again_after_its_loop_was_closed_is_not_another_referral_s(
    store: Store, task: str, tmp_path: Path
) -> None:
    closing = {"on": "11/19/2026", **CLOSED}
    await imported(store, a_file(tmp_path, [a_row(**closing)], "november.csv"))
    second = await refer(store, "R-2")

    waiting = await imported(store, a_file(tmp_path, [a_row(period="12", **closing)]))
    await decide_and_assign(store, second)
    assigned = await imported(store, a_file(tmp_path, [a_row(period="13", **closing)]))

    assert (facts(waiting), facts(assigned)) == ((0, 1, 0, 0), (0, 1, 0, 0))
    assert (await the_referral(store, second)).referral.closure is None


async def test_a_closure_before_the_later_referral_was_assigned_does_not_close_it(
    store: Store, task: str, tmp_path: Path
) -> None:
    await imported(store, a_file(tmp_path, [a_row(on="11/19/2026", **CLOSED)], "november.csv"))
    second = await refer(store, "R-2")
    await decide_and_assign(store, second)

    corrected = a_row(on="11/04/2026", **CLOSED)
    await imported(store, a_file(tmp_path, [corrected]))

    assert (await the_referral(store, second)).referral.closure is None


async def test_a_row_after_the_later_referral_was_assigned_is_its_own(
    store: Store, task: str, tmp_path: Path
) -> None:
    await imported(store, a_file(tmp_path, [a_row(on="11/10/2026", **CLOSED)], "november.csv"))
    second = await refer(store, "R-2")
    await decide_and_assign(store, second)

    summary = await imported(store, a_file(tmp_path, [a_row(on="11/20/2026", **CLOSED)]))

    assert facts(summary) == (1, 0, 0, 0)
    assert (await the_referral(store, second)).referral.closure


async def test_a_row_of_another_provider_goes_to_a_person(
    store: Store, task: str, tmp_path: Path
) -> None:
    summary = await imported(store, a_file(tmp_path, [a_row(npi=HEARTH.npi)]), sender="plan")

    assert facts(summary) == (0, 0, 1, 0)
    assert review(summary) == [{"line": 2, "rule": "not-assigned"}]


@pytest.mark.parametrize("policy", ["keep", "open"])
async def test_a_provider_known_by_name_alone_goes_to_a_person(
    store: Store, task: str, tmp_path: Path, policy: str
) -> None:
    rows = [a_row(npi="", provider=HARBOR.name), a_row(npi="", provider="X", cin=OTHER_CIN)]

    summary = await imported(store, a_file(tmp_path, rows), unmatched=policy)

    assert facts(summary) == (0, 0, 2, 0)
    assert {r["rule"] for r in review(summary)} == {"provider-not-identified"}


async def test_a_row_without_a_provider_is_not_the_plan_s_word(
    store: Store, task: str, tmp_path: Path
) -> None:
    closing = a_row(npi="", status="Referral Loop Closed", reason="Service Provider Declined")
    cbo_hub = replace(HUB, id=HEARTH.id, acts_for=(HARBOR.id,), tin="", npi=HEARTH.npi)
    await register(store, [cbo_hub])

    by_hub = await imported(store, a_file(tmp_path, [closing]), sender="hearth")
    by_plan = await imported(store, a_file(tmp_path, [closing]), sender="plan")

    assert facts(by_hub) == (0, 0, 0, 1)
    assert facts(by_plan) == (1, 0, 0, 0)
    stored = await the_referral(store, task)
    assert stored.referral.closure
    assert stored.referral.closure.reason == "provider-declined"


async def test_a_stranger_s_file_about_a_provider_is_refused_row_by_row(
    store: Store, task: str, tmp_path: Path
) -> None:
    summary = await imported(store, a_file(tmp_path, [a_row()]), sender="hearth")

    assert facts(summary) == (0, 0, 0, 1)
    assert await rules(store) == [("rejected", "wrong-party")]


async def test_a_member_in_two_services_is_recorded_in_one_unit(
    store: Store, tmp_path: Path
) -> None:
    """One row of the member table for both: a unit must not write it twice at once."""
    path = tmp_path / "cs.csv"
    heading = (
        "Primary Payer (MCP) Identifier,Member Client Index Number (CIN),Community Supports "
        "Service,CS Provider National Provider Identifier (NPI),Referral Status,"
        "Date of Referral Status Update,Reason for Referral Loop Closure\n"
    )
    rows = [
        f"MCP000,{CIN},{service},{HARBOR.npi},Accepted,11/09/2026,\n"
        for service in ("Housing Deposits", "Respite Services", "Asthma Remediation")
    ]
    path.write_text(heading + "".join(rows))

    summary = await imported(store, path, layout="rtf-cs", unmatched="open")

    assert facts(summary) == (3, 0, 0, 0)
    assert len(await referrals(store)) == 3


async def test_two_rows_of_one_referral_in_one_unit_follow_each_other(
    store: Store, tmp_path: Path
) -> None:
    rows = [
        a_row(),
        a_row(status="Outreach Initiated", on="11/12/2026"),
        a_row(**CLOSED, period=""),
    ]
    rows[2]["on"] = "11/15/2026"

    summary = await imported(store, a_file(tmp_path, rows), unmatched="open")

    (opened,) = await referrals(store)
    assert facts(summary) == (3, 0, 0, 0)
    assert [s.status for s in opened.assignments[0].statuses] == [
        ReferralStatus.PENDING,
        ReferralStatus.ACCEPTED,
        ReferralStatus.OUTREACH_INITIATED,
        ReferralStatus.LOOP_CLOSED,
    ]


async def test_history_owes_and_sends_nothing(store: Store, task: str, tmp_path: Path) -> None:
    owed = len(await notices(store, await the_referral(store, task)))

    summary = await imported(store, a_file(tmp_path, [a_row(**CLOSED)]), history=True)

    stored = await the_referral(store, task)
    assert facts(summary) == (1, 0, 0, 0)
    assert summary.notices_owed == 0
    assert stored.referral.closure
    assert len(await notices(store, stored)) == owed


async def test_withheld_notices_are_counted_as_owed(
    store: Store, task: str, tmp_path: Path
) -> None:
    later = an_agreement(every_status=True, notify_from=date(2027, 1, 1))
    await register(
        store, [a_partner("clinic", kind="referring-entity", npi="1679576722", agreement=later)]
    )

    summary = await imported(store, a_file(tmp_path, [a_row(on="11/20/2026", **CLOSED)]))

    told = await notices(store, await the_referral(store, task))
    assert summary.notices_owed == 1
    assert (told[-1].state, told[-1].rule) == ("withheld", "before-go-live")


async def test_a_plan_that_is_not_registered_is_kept_by_its_name(
    store: Store, tmp_path: Path
) -> None:
    rows = [
        a_row(plan="MCP777"),
        a_row(plan="MCP777", status="Outreach Initiated", on="11/12/2026"),
    ]

    summary = await imported(store, a_file(tmp_path, rows), unmatched="open")

    (opened,) = await referrals(store)
    assert facts(summary) == (2, 0, 0, 0)
    assert opened.plan == Party(name="MCP777")
    stored = await the_referral(store, (await all_plan_tasks(store))[0])
    assert stored.held == "plan-unknown"


async def test_a_plan_registered_later_is_the_plan_of_the_referrals_kept_by_its_name(
    store: Store, tmp_path: Path
) -> None:
    row = a_row(plan="MCP777")
    await imported(store, a_file(tmp_path, [row], "first.csv"), unmatched="open")
    late = a_partner("late", kind="managed-care-plan", plan_codes=("MCP777",))
    await register(store, [late])

    row |= {"status": "Outreach Initiated", "on": "11/12/2026"}
    summary = await imported(store, a_file(tmp_path, [row]), unmatched="open")

    (opened,) = await referrals(store)
    assert facts(summary) == (1, 0, 0, 0)
    assert len(opened.assignments[0].statuses) == 3


async def test_a_row_of_another_plan_speaks_of_no_referral_here(
    store: Store, task: str, tmp_path: Path
) -> None:
    summary = await imported(store, a_file(tmp_path, [a_row(plan="MCP777")]))

    assert facts(summary) == (0, 0, 1, 0)
    assert (await the_referral(store, task)).events == 3


async def test_a_file_whose_header_does_not_fit_stores_nothing(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "other.csv"
    path.write_text("Name,Colour\nA,B\n")
    before = await counts(store)

    with pytest.raises(Rejected):
        await imported(store, path)

    assert await counts(store) == before


async def test_a_half_written_last_line_is_a_listed_reject(
    store: Store, task: str, tmp_path: Path
) -> None:
    path = a_file(tmp_path, [a_row(), a_row(cin=OTHER_CIN)])
    whole = path.read_bytes().rstrip(b"\r\n")
    path.write_bytes(whole[: -len("Accepted,11/09/2026,,")])

    summary = await imported(store, path)

    assert facts(summary) == (1, 0, 0, 1)
    assert ("rejected", "half-written-row") in await rules(store)


async def test_a_file_that_is_imported_twice_at_once_opens_each_referral_once(
    store: Store, tmp_path: Path
) -> None:
    rows = [a_row(cin=f"9123450{number}A") for number in range(10)]
    path = a_file(tmp_path, rows)

    summaries = await asyncio.gather(*(imported(store, path, unmatched="open") for _ in range(3)))

    assert len(await referrals(store)) == 10
    assert sum(s.rows_recorded for s in summaries) == 10
    assert all(facts(s)[2:] == (0, 0) for s in summaries)


@pytest.mark.parametrize("rows_a_unit", [1, 3, 100])
async def test_in_units_of_any_size_the_end_is_the_same(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_a_unit: int
) -> None:
    rows = [
        a_row(),
        a_row(),
        a_row(status="Outreach Initiated", on="11/12/2026"),
        a_row(cin=OTHER_CIN, status="", on=""),
        a_row(cin=OTHER_CIN, status="", on=""),
        a_row(cin="12"),
        a_row(on="11/15/2026", **CLOSED),
        a_row(status="Accepted", on="11/16/2026"),
        a_row(status="Accepted", on="11/16/2026"),
        a_row(cin=OTHER_CIN),
    ]
    monkeypatch.setattr(import_file, "ROWS_A_UNIT", rows_a_unit)

    summary = await imported(store, a_file(tmp_path, rows), unmatched="open")

    stands = sorted(
        (r.cin, [s.status.value for s in r.assignments[0].statuses], bool(r.closure))
        for r in await referrals(store)
    )
    assert facts(summary) == (5, 3, 1, 1)
    assert stands == [
        (OTHER_CIN, ["accepted", "pending"], False),
        (CIN, ["pending", "accepted", "outreach-initiated", "loop-closed", "accepted"], True),
    ]


async def test_a_row_that_the_store_refuses_does_not_take_its_neighbours_along(
    store: Store, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit that meets a conflict is done again row by row."""
    real, calls = record_rows, list[int]()

    def once_busy(
        conn: Connection, rows: Sequence[ReadRow], context: ImportContext
    ) -> list[RowFact]:
        calls.append(len(rows))
        if len(calls) == 1:
            raise VersionConflict
        return real(conn, rows, context)

    monkeypatch.setattr(import_file, "record_rows", once_busy)

    summary = await imported(store, a_file(tmp_path, [a_row(), a_row(on="11/20/2026")]))

    assert calls == [2, 1, 1]
    assert facts(summary) == (2, 0, 0, 0)


async def test_a_row_that_cannot_be_recorded_goes_to_a_person_and_the_file_goes_on(
    store: Store, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = record_rows

    def refusing_one(
        conn: Connection, rows: Sequence[ReadRow], context: ImportContext
    ) -> list[RowFact]:
        if any(row.line == 2 for row in rows):
            raise Unknown
        return real(conn, rows, context)

    monkeypatch.setattr(import_file, "record_rows", refusing_one)

    summary = await imported(store, a_file(tmp_path, [a_row(), a_row(on="11/20/2026")]))

    assert facts(summary) == (1, 0, 1, 0)
    assert review(summary) == [{"line": 2, "rule": "not-recorded"}]
    assert await rules(store) == [("review", "not-recorded"), ("recorded", "")]


@pytest.mark.parametrize("trouble", [StoreBusy, OutcomeUnknown])
async def test_trouble_with_the_store_ends_the_import(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: type[Exception]
) -> None:
    def in_trouble(*_: object) -> list[RowFact]:
        raise trouble

    monkeypatch.setattr(import_file, "record_rows", in_trouble)

    with pytest.raises(trouble):
        await imported(store, a_file(tmp_path, [a_row()]))


async def test_what_is_odd_about_a_row_is_noted_in_the_summary(
    store: Store, task: str, tmp_path: Path
) -> None:
    summary = await imported(store, a_file(tmp_path, [a_row(npi="", tin=HARBOR.tin)]))

    notes = json.loads(Path(summary.summary_path).read_text())["notes"]
    assert notes == [{"line": 2, "flags": ["provider-without-npi"]}]


async def test_files_lie_in_buckets_of_their_own(store: Store, tmp_path: Path) -> None:
    for number in range(3):
        await imported(store, a_file(tmp_path, [a_row(text=str(number))]))

    def found(conn: Connection) -> list[tuple[int, str]]:
        query = select(files.c.bucket, files.c.digest)
        return [(bucket, digest) for bucket, digest in conn.execute(query)]

    kept = await store.read(found)
    assert len(kept) == 3
    assert all(bucket == bucket_of_key(digest) for bucket, digest in kept)
