"""A partner joins: its row and its Organization; what a request may write and what it may not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.builders import (
    CLINIC,
    PLAN,
    a_bundle,
    a_patient,
    a_recording,
    a_task,
    an_agreement,
    decided_output,
    posted,
    referral_bundle,
    register,
)
from tests.stored_loops import (
    ask,
    counts,
    decide_and_assign,
    now,
    plan_says,
    refer,
    the_referral,
    versions,
)

from fhir_hub_bridge.errors import BadSetting, ResourceRejected, RuleBroken
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.intake.receive_fhir import Asked
from fhir_hub_bridge.intake.register_partner import read_partners
from fhir_hub_bridge.intake.register_partner import register as join
from fhir_hub_bridge.store.console_queries import story
from fhir_hub_bridge.store.partners import find_partner
from fhir_hub_bridge.store.transaction import Store

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
    ],
)
def test_a_file_that_does_not_fit_is_refused_naming_what(
    tmp_path: Path, text: str, named: str
) -> None:
    path = tmp_path / "partner.toml"
    path.write_text(text)

    with pytest.raises(BadSetting, match=named):
        read_partners(path)


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
        (("POST Practitioner", "", {"resourceType": "Practitioner"}), "not-supported"),
        (("PUT Patient/p1", "", {**a_patient(), "id": "p1"}), "not-supported"),
        (
            ("PUT Task?identifier=x", "", a_task()),
            "not-supported",
        ),
    ],
    ids=["create of another type", "update of another type", "conditional update"],
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
        ({"if_none_exist": "identifier=x"}, "if-none-exist"),
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
