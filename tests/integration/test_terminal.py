"""What people read on a terminal: one story, the open loops, the end of the demo; nobody's name."""

from __future__ import annotations

import io
import json

from rich.console import Console
from tests.api_client import NOON, shipped_catalog
from tests.console_stories import MEMBER, told_stories

from fhir_hub_bridge.demo.telling import tell_ending, tell_what_next
from fhir_hub_bridge.demo.totals import Totals
from fhir_hub_bridge.store import console_queries
from fhir_hub_bridge.store.transaction import Store
from fhir_hub_bridge.terminal import (
    open_loops_as_json,
    story_as_json,
    tell_open_loops,
    tell_story,
)

RULEBOOK = shipped_catalog().rulebook

TOTALS = {
    "loops_total": 28,
    "loops_expected_closed": 27,
    "loops_closed": 27,
    "notices_owed": 111,
    "notices_confirmed": 105,
    "notices_withheld": 3,
    "notices_escalated": 3,
    "notices_pending": 3,
    "notices_lost": 0,
    "notices_late": 0,
    "duplicates_received": 2,
    "outage_states_delivered": 3,
    "outage_tries_refused": 4,
    "outage_seconds": 25.0,
    "rows_read": 92,
    "rows_recorded": 72,
    "rows_unchanged": 16,
    "rows_review": 1,
    "rows_rejected": 3,
    "files_refused": 1,
    "journal_path": "journals/referring-entity.jsonl",
    "memory_mib": 180.1,
    "seconds": 45.2,
}


def a_console() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=120), out


def is_silent_about_the_member(text: str) -> bool:
    return not any(word in text for word in (MEMBER.family, MEMBER.given, MEMBER.cin[:-2]))


async def test_a_story_says_who_said_what_and_what_proves_each_notice(store: Store) -> None:
    ids = await told_stories(store)
    story = await store.read_snapshot(console_queries.story, ids["told"])
    console, out = a_console()

    tell_story(story, RULEBOOK, console=console)

    text = out.getvalue()
    assert "Referral R-1" in text
    assert "harbor_november.csv, row 7" in text
    assert "HTTP 503" in text
    assert "we sent it, their system took it, counts as told" in text
    assert story.notices[0].sha256 in text
    assert is_silent_about_the_member(text)


async def test_a_story_for_programs_holds_every_event_version_notice_and_try(
    store: Store,
) -> None:
    ids = await told_stories(store)
    story = await store.read_snapshot(console_queries.story, ids["told"])

    told = json.loads(json.dumps(story_as_json(story, RULEBOOK)))

    assert told["closed"]
    assert told["closure_reason"] == "services-received"
    assert [e["number"] for e in told["events"]] == [e.number for e in story.events]
    assert len(told["tasks"]) == len(story.tasks)
    assert [a["status"] for a in told["notices"][0]["attempts"]] == [503, 200]
    assert is_silent_about_the_member(json.dumps(told))


async def test_open_loops_say_what_is_due_and_who_has_it(store: Store) -> None:
    ids = await told_stories(store)
    found = await store.read_snapshot(console_queries.overview, now=NOON, limit=2)
    console, out = a_console()

    tell_open_loops(found, RULEBOOK, console=console)
    listed = open_loops_as_json(found, RULEBOOK)

    assert ids["alone"] in out.getvalue()
    assert "Rosa, referrals desk" in out.getvalue()
    assert f"most urgent of {found.listed}" in out.getvalue()
    assert listed["loops"][0]["escalated_to"] == "Rosa, referrals desk"
    assert listed["notices_owed"] == (
        listed["notices_confirmed"] + listed["notices_withheld"] + listed["notices_pending"]
    )


async def test_the_demo_ends_with_a_story_the_totals_and_what_to_type(store: Store) -> None:
    ids = await told_stories(store)
    story = await store.read_snapshot(console_queries.story, ids["told"])
    console, out = a_console()

    tell_ending(Totals(TOTALS, ()), story, RULEBOOK, console=console)
    tell_what_next(
        database="sqlite:///b.sqlite",
        address="http://127.0.0.1:8480/console",
        is_open=True,
        folder="demo",
        console=console,
    )

    text = out.getvalue()
    order = ("Referral R-1", "Closed-loop referrals", "fhir-hub-bridge import", "/console")
    assert sorted(order, key=text.index) == list(order)
    assert "Every loop and every notice came to its end." in text


async def test_the_demo_says_what_is_not_as_it_should_be(store: Store) -> None:
    ids = await told_stories(store)
    story = await store.read_snapshot(console_queries.story, ids["told"])
    console, out = a_console()

    tell_ending(Totals(TOTALS, ("R-0001 was not taken.",)), story, RULEBOOK, console=console)

    assert "Not as it should be: R-0001 was not taken." in out.getvalue()
    assert "came to its end" not in out.getvalue()
