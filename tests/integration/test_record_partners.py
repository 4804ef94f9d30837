"""A partner joins: its row and its Organization; what a request may write and what it may not."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.builders import (
    CLINIC,
    HARBOR,
    NOW,
    PLAN,
    a_bundle,
    a_patient,
    a_recording,
    a_service_request,
    a_task,
    an_agreement,
    assigned_output,
    decided_output,
    posted,
    referral_bundle,
    register,
)
from tests.stored_loops import (
    ask,
    counts,
    decide_and_assign,
    notices,
    now,
    plan_decides,
    plan_says,
    refer,
    the_referral,
    versions,
)

from fhir_hub_bridge.delivery.clock import watch_clock
from fhir_hub_bridge.errors import BadSetting, ResourceRejected, RuleBroken, StoreBusy
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.intake.receive_fhir import Asked
from fhir_hub_bridge.intake.register_partner import read_partners
from fhir_hub_bridge.intake.register_partner import register as join
from fhir_hub_bridge.mapping.notice_to_fhir import communication_told
from fhir_hub_bridge.referral.model import PartnerId
from fhir_hub_bridge.referral.parties import Agreement
from fhir_hub_bridge.store.console_queries import story
from fhir_hub_bridge.store.notice_records import count_notices
from fhir_hub_bridge.store.outbox import claim
from fhir_hub_bridge.store.partners import find_partner
from fhir_hub_bridge.store.transaction import Store


def _told_by(method: str, endpoint: str, proof: str) -> str:
    return (
        'id = "a"\nname = "A"\nkind = "referring-entity"\n[agreement]\nnotify_from = 2026-01-01\n'
        f'method = "{method}"\nendpoint = "{endpoint}"\nproof = "{proof}"\n'
    )


DAY = timedelta(days=1)
EXAMPLE = Path(__file__).parents[2] / "mappings" / "partners.example.toml"


async def test_a_partner_joins_with_its_organization_and_again_changes_nothing(
    store: Store,
) -> None:
    for partner in read_partners(EXAMPLE):
        await store.write(join, partner, recording=a_recording())
    before = await counts(store)

    for partner in read_partners(EXAMPLE):
        await store.write(join, partner, recording=a_recording())

    assert await counts(store) == before
    assert before["partner"] == 4
    hub = await store.read(find_partner, "example-hub")
    assert hub.delegated == ("assign",)
    assert (await now(store, "Organization/example-clinic"))["name"] == "Example Street Clinic"


async def test_a_partner_that_changed_has_a_new_version_of_its_organization(store: Store) -> None:
    await store.write(join, CLINIC, recording=a_recording())
    await store.write(join, replace(CLINIC, name="Elm Street"), recording=a_recording())

    names = [o["name"] for o in await versions(store, "Organization/clinic")]
    assert names == [CLINIC.name, "Elm Street"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('id = "a"\nname = "A"\nkind = "bank"', "kind"),
        ('id = "a"\nname = "A"\nkind = "provider"\ncolour = "blue"', "colour"),
        ('id = "a"\nname = ', "cannot be read"),
        ("", "id"),
        ('id = "a/b"\nname = "A"\nkind = "hub"', "FHIR id"),
        ('id = "a"\nname = "A"\nkind = "hub"\nnpi = "1234567890"', "check digit"),
        ('id = "a"\nname = "A"\nkind = "hub"\ntin = "12-345678"', "nine digits"),
        ('id = "a"\nname = "A"\nkind = "hub"\ntin = "00-0000001"', "placeholder"),
        (_told_by("fhir-push", "https://a.example/fhir", "acknowledgement"), 'only prove "2xx"'),
        (_told_by("file-drop", "/srv/a", "2xx"), 'only prove "acknowledgement"'),
        (_told_by("fhir-push", "a.example/fhir", "2xx"), "http or https"),
        (_told_by("fhir-push", "ftp://a.example", "2xx"), "http or https"),
        (_told_by("file-drop", "drops/a", "acknowledgement"), "absolute path"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_naming_what(
    tmp_path: Path, text: str, named: str
) -> None:
    path = tmp_path / "partner.toml"
    path.write_text(text)

    with pytest.raises(BadSetting, match=named):
        read_partners(path)


async def test_numbers_are_the_same_however_a_partners_file_or_a_reference_writes_them(
    store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "elm.toml"
    path.write_text('id = "elm"\nname = "Elm"\nkind = "referring-entity"\ntin = "11-2233445"')
    await store.write(join, PLAN, *read_partners(path), recording=a_recording())
    elm = {"identifier": {"system": canonical.TIN, "value": "11-2233445"}}

    task = await refer(store, request=a_service_request(requester=elm), task=a_task(requester=elm))

    assert (await store.read(find_partner, "elm")).tin == "112233445"
    requester = (await the_referral(store, task)).referral.requester
    assert (requester.partner, requester.tin) == ("elm", "112233445")


async def test_the_partners_of_a_file_join_all_or_none(store: Store) -> None:
    broken = replace(CLINIC, kind="bank")  # type: ignore[arg-type]

    with pytest.raises(KeyError):
        await store.write(join, PLAN, broken, recording=a_recording())

    assert (await counts(store))["partner"] == 0


async def stands(store: Store, task: str) -> list[tuple[str, str, str, str]]:
    found = await notices(store, await the_referral(store, task))
    return [(n.recipient, n.state, n.method, n.rule) for n in found]


async def claimable(store: Store) -> list[str]:
    found = await store.write(claim, now=NOW + DAY, lease=DAY, limit=10)
    return [one.type for one in found]


async def decided_then_agreed(store: Store, late: Agreement) -> str:
    """A referral decided on DECIDED for a clinic, which agrees only then; assigned after."""
    await register(store, [PLAN, replace(CLINIC, agreement=None), HARBOR])
    task = await refer(store)
    await plan_decides(store, task, "approved")
    await store.write(join, replace(CLINIC, agreement=late), recording=a_recording())
    decided = (await now(store, f"Task/{task}"))["output"]
    await plan_says(store, task, output=[*decided, *assigned_output()])
    return task


async def test_what_waited_for_an_agreement_goes_out_in_its_order(store: Store) -> None:
    task = await decided_then_agreed(store, an_agreement())

    assert await stands(store, task) == [
        ("clinic", "pending", "fhir-push", "no-agreement"),
        ("clinic", "pending", "fhir-push", ""),
    ]
    assert await claimable(store) == ["authorization-decided"]


async def test_facts_before_a_late_agreement_begins_are_withheld_and_hold_nothing_up(
    store: Store,
) -> None:
    task = await decided_then_agreed(store, an_agreement(notify_from=date(2026, 11, 10)))

    assert await stands(store, task) == [
        ("clinic", "withheld", "", "before-go-live"),
        ("clinic", "pending", "fhir-push", ""),
    ]
    assert await claimable(store) == ["provider-assigned"]
    told = (await notices(store, await the_referral(store, task)))[0]
    communication = await now(store, f"Communication/{told.communication_id}")
    duty = await now(store, communication["basedOn"][1]["reference"])
    assert (communication["status"], duty["status"]) == ("not-done", "revoked")


async def test_what_a_late_agreement_cannot_carry_stays_with_its_person_and_holds_nothing_up(
    store: Store,
) -> None:
    drop = an_agreement(method="file-drop", endpoint="/srv/clinic", proof="acknowledgement")
    task = await decided_then_agreed(store, drop)

    first, second = await notices(store, await the_referral(store, task))
    assert (first.state, first.method, first.escalated_why) == ("pending", "", "no-agreement")
    assert (second.state, second.method) == ("pending", "file-drop")
    assert await claimable(store) == ["provider-assigned"]


@pytest.mark.parametrize("twin", [True, False], ids=["shared by two", "of one alone"])
async def test_only_a_number_of_one_partner_alone_hands_its_notices_over(
    store: Store, twin: bool
) -> None:
    one = replace(CLINIC, id=PartnerId("north"), npi="", tin="112233445", agreement=None)
    asked = {"identifier": {"system": canonical.TIN, "value": "11-2233445"}, "display": "Big"}
    await register(store, [PLAN])
    task = await refer(
        store, request=a_service_request(requester=asked), task=a_task(requester=asked)
    )
    await plan_says(store, task, output=decided_output())
    if twin:
        await register(store, [replace(one, id=PartnerId("south"))])

    await store.write(join, replace(one, agreement=an_agreement()), recording=a_recording())

    ((recipient, state, method, _),) = await stands(store, task)
    assert state == "pending"
    assert (recipient, method) == (("tin:112233445", "") if twin else ("north", "fhir-push"))


async def test_what_was_recorded_while_a_partner_joined_is_found_by_the_clock(
    store: Store,
) -> None:
    await register(store, [PLAN, replace(CLINIC, agreement=None), HARBOR])
    task = await refer(store)
    await plan_says(store, task, output=decided_output())
    await register(store, [CLINIC])  # without taking over: as if recording had been under way

    stop = asyncio.Event()
    watching = asyncio.create_task(
        watch_clock(
            store,
            escalate_to="J. Doe",
            before_go_live=True,
            told=communication_told,
            clock=lambda: NOW,
            stop=stop,
            every=timedelta(seconds=0.01),
        )
    )
    async with asyncio.timeout(10):
        while (await stands(store, task))[0][2] == "":
            await asyncio.sleep(0.01)
    stop.set()
    await asyncio.wait_for(watching, 5)

    assert await stands(store, task) == [("clinic", "pending", "fhir-push", "no-agreement")]


async def test_the_clock_gives_what_is_past_due_to_a_person_and_survives_a_busy_store(
    store: Store,
) -> None:
    await register(store)
    task = await refer(store)
    await decide_and_assign(store, task)
    troubles: list[Exception] = [StoreBusy(), RuntimeError("?")]
    stop = asyncio.Event()

    class Unwilling:
        async def write(self, *args: Any, **kwargs: Any) -> Any:
            if troubles:
                raise troubles.pop()
            return await store.write(*args, **kwargs)

    watching = asyncio.create_task(
        watch_clock(
            Unwilling(),  # type: ignore[arg-type]
            escalate_to="J. Doe",
            before_go_live=True,
            told=communication_told,
            clock=lambda: NOW + 30 * DAY,
            stop=stop,
            every=timedelta(seconds=0.01),
        )
    )
    async with asyncio.timeout(10):
        while (await store.read(count_notices, now=NOW)).escalated < 2:
            await asyncio.sleep(0.01)
    stop.set()
    await asyncio.wait_for(watching, 5)

    found = await notices(store, await the_referral(store, task))
    assert [(n.escalated_to, n.escalated_why) for n in found] == [("J. Doe", "past-due")] * 2


async def test_a_referrer_told_by_file_gets_a_file(store: Store) -> None:
    drop = an_agreement(method="file-drop", endpoint="/srv/clinic", proof="acknowledgement")
    await register(store)
    await register(store, [replace(CLINIC, agreement=drop)])
    task = await refer(store)

    await plan_says(store, task, output=decided_output())

    found = await store.read_snapshot(story, (await the_referral(store, task)).referral.id)
    (told,) = found.notices
    assert (told.method, told.media_type, told.state) == ("file-drop", "text/csv", "pending")


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        (("POST Medication", "", {"resourceType": "Medication"}), "not-supported"),
        (("PUT AuditEvent/p1", "", {"resourceType": "AuditEvent", "id": "p1"}), "not-supported"),
        (("PUT Task?colour=blue", "", a_task()), "search-parameter"),
    ],
    ids=["create of another type", "update of another type", "a condition that is no search"],
)
async def test_what_is_not_served_is_refused_in_a_transaction_too(
    store: Store, entry: tuple[str, str, Json], rule: str
) -> None:
    body = referral_bundle()
    body["entry"] += a_bundle(entry)["entry"]

    with pytest.raises(ResourceRejected) as refused:
        await ask(store, posted(body))

    assert rule in {issue.rule for issue in refused.value.issues}
    assert all(issue.place.startswith("Bundle.entry") for issue in refused.value.issues)
    assert (await counts(store))["resource"] == 0


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"type": "Task"}, "resource-type"),
        ({"method": "PUT", "id": "other", "type": "Task"}, "id-differs"),
        ({"if_none_exist": "colour=blue"}, "search-parameter"),
    ],
)
async def test_a_request_and_its_body_must_agree(
    store: Store, changes: dict[str, str], rule: str
) -> None:
    asked = Asked("POST", json.dumps({**a_patient(), "id": "p1"}).encode(), type="Patient")

    with pytest.raises(ResourceRejected) as refused:
        await ask(store, replace(asked, **changes))  # type: ignore[arg-type]

    assert rule in {issue.rule for issue in refused.value.issues}


async def test_without_an_operator_and_a_caller_nobody_acts(store: Store) -> None:
    await register(store, [PLAN, CLINIC])
    task = await refer(store)
    body = {**await now(store, f"Task/{task}"), "status": "accepted"}
    asked = Asked("PUT", json.dumps(body).encode(), type="Task", id=task)

    with pytest.raises(RuleBroken, match="unknown party"):
        await ask(store, asked, operator="")


async def test_ids_given_by_clients_are_replaced_and_their_references_follow(
    store: Store,
) -> None:
    await register(store)
    body = referral_bundle()
    for number, entry in enumerate(body["entry"]):
        entry["resource"]["id"] = f"theirs-{number}"

    await ask(store, posted(body))

    assert (await counts(store))["referral"] == 1


async def test_the_story_of_a_loop_has_all_that_happened(store: Store) -> None:
    await register(store)
    task = await refer(store)
    await decide_and_assign(store, task)

    found = await store.read_snapshot(story, (await the_referral(store, task)).referral.id)

    assert [e.kind.value for e in found.events] == [
        "referral-received",
        "authorization-decided",
        "provider-assigned",
    ]
    assert len(found.tasks) == 4
    assert len(found.notices) == 2
