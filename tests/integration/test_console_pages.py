"""The console's pages without a browser: headers, addresses, failures, on both databases."""

from __future__ import annotations

import pytest
from tests.api_client import a_bridge, a_client, shipped_catalog
from tests.console_stories import MEMBER, told_stories

from fhir_hub_bridge.referral.model import NoticeType, ReferralStatus
from fhir_hub_bridge.store.transaction import Store
from fhir_hub_bridge.web import words


async def test_every_page_is_guarded_and_shows_no_member(store: Store) -> None:
    ids = await told_stories(store)

    async with a_client(a_bridge(store)) as client:
        pages = [await client.get("/console")]
        pages += [await client.get(f"/console/referrals/{id_}") for id_ in ids.values()]

    for page in pages:
        assert page.status_code == 200
        assert page.headers["content-security-policy"].startswith(
            "default-src 'none'; style-src 'self'"
        )
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert "<script" not in page.text
        assert "<style" not in page.text
        assert " style=" not in page.text
        for private in (MEMBER.family, MEMBER.given, MEMBER.cin[:8], "1970"):
            assert private not in page.text


async def test_an_empty_console_says_so(store: Store) -> None:
    async with a_client(a_bridge(store)) as client:
        page = await client.get("/console")

    assert page.status_code == 200
    assert "No loop is open." in page.text


async def test_the_outside_services_story_says_why_nobody_is_told(store: Store) -> None:
    ids = await told_stories(store)

    async with a_client(a_bridge(store)) as client:
        page = await client.get(f"/console/referrals/{ids['withheld']}")

    assert "agreement has notices sent" in page.text
    assert "withheld" in page.text


async def test_pages_that_are_not_there_are_pages(store: Store) -> None:
    async with a_client(a_bridge(store)) as client:
        for path in ("/console/referrals/nobody", "/console/elsewhere", "/console/referrals/"):
            page = await client.get(path)

            assert page.status_code == 404, path
            assert page.headers["content-type"].startswith("text/html")
            assert "Nothing is here" in page.text


async def test_a_failing_page_tells_its_request_and_nothing_else(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*args: object, **kwargs: object) -> object:
        raise RuntimeError("Jane Doe, born 1970")

    store.read_snapshot = broken  # type: ignore[method-assign, assignment]

    async with a_client(a_bridge(store)) as client:
        page = await client.get("/console", headers={"X-Request-Id": "r-9"})

    printed = capsys.readouterr()
    assert page.status_code == 500
    assert "r-9" in page.text
    assert "r-9" in printed.out + printed.err
    assert "Jane" not in page.text + printed.out + printed.err


async def test_the_first_address_leads_to_the_console(store: Store) -> None:
    async with a_client(a_bridge(store)) as client:
        answer = await client.get("/")

    assert (answer.status_code, answer.headers["location"]) == (307, "/console")


def test_every_value_has_plain_words() -> None:
    rulebook = shipped_catalog().rulebook

    assert set(words.STANDING) == set(words.REPORTED) == set(ReferralStatus)
    assert set(words.NOTICE) == set(NoticeType)
    assert set(words.CLOSURE) == set(rulebook.closure_reasons)
    assert set(words.DECISION) == set(rulebook.authorization_statuses)
