"""The plan decides and assigns: by FHIR and by command, in one transaction, and only the plan."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import pytest
from tests.builders import (
    ASSIGNED,
    DECIDED,
    HARBOR,
    HEARTH,
    NOW,
    TODAY,
    a_claim_response,
    a_closure,
    a_decision,
    a_recording,
    a_report,
    a_task,
    an_assignment,
    assigned_output,
    because,
    decided_output,
    on_the_basis,
    put,
    reason,
    register,
    said,
)
from tests.stored_loops import (
    ask,
    counts,
    decide_and_assign,
    events,
    kinds,
    notices,
    now,
    plan_decides,
    plan_says,
    provider_says,
    refer,
    the_referral,
    versions,
)

from fhir_hub_bridge.errors import (
    BadSetting,
    Conflict,
    ResourceRejected,
    RuleBroken,
    Unknown,
    UnmappedCode,
    VersionConflict,
)
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.intake.plan_acts import act_on_referral
from fhir_hub_bridge.intake.receive_fhir import Asked
from fhir_hub_bridge.intake.record_referral import Recorded, resource_ids
from fhir_hub_bridge.mapping.codings import code_in
from fhir_hub_bridge.referral.model import Act, EventKind
from fhir_hub_bridge.store.resources import read
from fhir_hub_bridge.store.transaction import Store


@pytest.fixture(autouse=True)
async def _partners(store: Store) -> None:
    await register(store)


@pytest.fixture
async def task(store: Store) -> str:
    return await refer(store)


async def by_command(store: Store, task: str, act: Act, *, by: str = "plan") -> Recorded:
    id_ = (await the_referral(store, task)).referral.id
    return await store.write(
        act_on_referral, id_, act, by=by, recording=a_recording(seed=f"{task}{act}")
    )


def decision_in(task: Json) -> tuple[str, str]:
    codes = [
        code_in(o.get("valueCodeableConcept"), canonical.AUTHORIZATION_STATUS)
        for o in task["output"]
    ]
    references = [o["valueReference"]["reference"] for o in task["output"] if "valueReference" in o]
    return next(filter(None, codes)), references[0]


async def test_one_transaction_decides_and_assigns(store: Store, task: str) -> None:
    await plan_decides(store, task, "approved", assign="harbor")

    stored = await the_referral(store, task)
    assert [e.kind for e in await events(store, stored)] == [
        EventKind.REFERRAL_RECEIVED,
        EventKind.AUTHORIZATION_DECIDED,
        EventKind.PROVIDER_ASSIGNED,
    ]
    decision = stored.referral.decision
    assert decision
    assert (decision.status, decision.on, decision.number) == ("approved", DECIDED, "A-1")
    assert [t["status"] for t in await versions(store, f"Task/{task}")] == [
        "requested",
        "accepted",
        "in-progress",
    ]
    told = await notices(store, stored)
    assert [(n.type, n.lane) for n in told] == [
        ("authorization-decided", 1),
        ("provider-assigned", 2),
    ]


async def test_the_provider_s_copies_hang_on_the_plan_s(store: Store, task: str) -> None:
    theirs = await decide_and_assign(store, task)

    copies = resource_ids(await the_referral(store, task)).assignments[0]
    task2 = await now(store, f"Task/{theirs}")
    request2 = await now(store, f"ServiceRequest/{copies.service_request}")
    parent = await now(store, f"Task/{task}")
    assert task2["partOf"] == [{"reference": f"Task/{task}"}]
    assert task2["owner"]["reference"] == request2["performer"][0]["reference"]
    assert task2["owner"]["reference"] == "Organization/harbor"
    assert request2["basedOn"] == [parent["focus"]]
    assert task2["groupIdentifier"] == request2["requisition"]


async def test_the_plan_s_own_claim_response_is_kept_and_pointed_at(
    store: Store, task: str
) -> None:
    await plan_decides(store, task, "approved", disposition="Made-up words")

    status, reference = decision_in(await now(store, f"Task/{task}"))
    kept = await now(store, reference)
    assert status == "approved"
    assert kept["disposition"] == "Made-up words"
    assert (await kinds(store))["ClaimResponse"] == 1


async def test_a_claim_response_sent_before_is_pointed_at_too(store: Store, task: str) -> None:
    claim = a_claim_response((await now(store, f"Task/{task}"))["for"], preAuthRef="A-9")
    answered = await ask(
        store, Asked("POST", json.dumps(claim).encode(), type="ClaimResponse", caller="plan")
    )
    sent = f"ClaimResponse/{json.loads(answered.body)['id']}"

    await plan_says(store, task, output=decided_output("approved", sent))

    assert decision_in(await now(store, f"Task/{task}")) == ("approved", sent)


async def test_a_decision_without_a_claim_response_gets_one(store: Store, task: str) -> None:
    await plan_says(store, task, output=decided_output())

    _, reference = decision_in(await now(store, f"Task/{task}"))
    made = await now(store, reference)
    assert (made["created"], made["outcome"]) == (TODAY.isoformat(), "complete")


async def test_a_denial_tells_why_and_closes(store: Store, task: str) -> None:
    await plan_decides(store, task, "denied", extension=because("Criteria are not met", "C1"))

    stored = await the_referral(store, task)
    assert stored.referral.decision
    assert stored.referral.decision.reason == "Criteria are not met"
    assert stored.referral.closure
    assert [n.type for n in await notices(store, stored)] == [
        "authorization-decided",
        "loop-closed",
    ]
    assert [t["status"] for t in await versions(store, f"Task/{task}")] == [
        "requested",
        "requested",
        "cancelled",
    ]


@pytest.mark.parametrize(
    ("concept", "told"),
    [
        ({"text": "In words", "coding": [{"code": "0V", "display": "Not met"}]}, "In words"),
        ({"coding": [{"code": "0V", "display": "Criteria not met"}]}, "Criteria not met"),
        ({"coding": [{"code": "0V"}]}, "0V"),
    ],
)
async def test_a_reason_in_codes_is_told_in_the_best_words_it_has(
    store: Store, task: str, concept: dict[str, object], told: str
) -> None:
    extension = {
        "url": canonical.AUTHORIZATION_REASON_EXTENSION,
        "valueCodeableConcept": concept,
    }

    await plan_decides(
        store, task, "denied", extension=[extension], disposition="The plan's own note"
    )

    decision = (await the_referral(store, task)).referral.decision
    assert decision
    assert (decision.reason, decision.reason_code) == (told, "0V")


async def test_a_disposition_is_no_reason(store: Store, task: str) -> None:
    with pytest.raises(RuleBroken) as refused:
        await plan_decides(store, task, "denied", disposition="The plan's own note")

    assert refused.value.rule == "decision-needs-reason"


async def test_a_denial_without_a_reason_is_refused(store: Store, task: str) -> None:
    before = await counts(store)

    with pytest.raises(RuleBroken) as refused:
        await plan_says(store, task, output=decided_output("denied"))

    assert refused.value.rule == "decision-needs-reason"
    assert await counts(store) == before


async def test_a_presumptive_start_that_is_later_denied(store: Store, task: str) -> None:
    await plan_decides(
        store, task, "pending", assign="harbor", extension=on_the_basis("presumptive")
    )
    theirs = resource_ids(await the_referral(store, task)).assignments[0].task
    await provider_says(store, theirs, status="accepted")

    await plan_decides(
        store, task, "denied", created="2026-11-10", extension=because("Criteria are not met")
    )

    stored = await the_referral(store, task)
    assert [n.type for n in await notices(store, stored)] == [
        "provider-assigned",
        "status-changed",
        "authorization-decided",
        "loop-closed",
    ]
    assert (await now(store, f"Task/{theirs}"))["status"] == "cancelled"
    assert (await now(store, f"Task/{task}"))["status"] == "cancelled"


@pytest.mark.parametrize("caller", ["clinic", "harbor", "hearth", "hub"])
async def test_nobody_else_decides(store: Store, task: str, caller: str) -> None:
    before = await counts(store)

    with pytest.raises(RuleBroken) as refused:
        await plan_decides(store, task, "approved", caller=caller)

    assert refused.value.rule == "wrong-party"
    assert await counts(store) == before


async def test_a_hub_assigns_where_the_plan_delegated_it(store: Store, task: str) -> None:
    await plan_says(store, task, output=decided_output())
    decided = (await now(store, f"Task/{task}"))["output"]

    await plan_says(store, task, caller="hub", output=[*decided, *assigned_output()])

    assert (await the_referral(store, task)).referral.assignment


@pytest.mark.parametrize(
    ("output", "error", "rule"),
    [
        (decided_output("maybe"), UnmappedCode, ""),
        (
            [
                {
                    "type": decided_output()[0]["type"],
                    "valueCodeableConcept": {"text": "Approved"},
                }
            ],
            ResourceRejected,
            "unknown-status",
        ),
        ([*decided_output(), *assigned_output("nobody")], ResourceRejected, "provider-unknown"),
        (assigned_output(), RuleBroken, "assign-before-authorization"),
    ],
    ids=["unknown code", "no code", "unknown provider", "before the decision"],
)
async def test_an_act_that_cannot_be_understood_is_refused_whole(
    store: Store, task: str, output: list[Json], error: type[Exception], rule: str
) -> None:
    before = await counts(store)

    with pytest.raises(error) as refused:
        await plan_says(store, task, output=output)

    issues = getattr(refused.value, "issues", ())
    assert {issue.rule for issue in issues} <= {rule}
    assert await counts(store) == before


async def test_a_reassignment_takes_the_first_task_back(store: Store, task: str) -> None:
    first = await decide_and_assign(store, task)
    second = await decide_and_assign(store, task, "hearth")

    assert (await now(store, f"Task/{first}"))["status"] == "cancelled"
    assert (await now(store, f"Task/{second}"))["status"] == "requested"
    shown = (await now(store, f"Task/{task}"))["output"]
    providers = [o for o in shown if o.get("valueReference", {}).get("display") == HEARTH.name]
    assert len(providers) == 1
    assert HARBOR.name not in str(shown)


async def test_an_old_copy_does_not_bring_the_first_provider_back(store: Store, task: str) -> None:
    await decide_and_assign(store, task)
    old = await now(store, f"Task/{task}")
    await decide_and_assign(store, task, "hearth")

    with pytest.raises(Conflict):
        await ask(store, put({**old, "description": "A note"}, caller="plan"))

    stored = await the_referral(store, task)
    assert stored.referral.assignment
    assert stored.referral.assignment.provider.partner == "hearth"


async def test_a_stale_if_match_is_a_version_conflict(store: Store, task: str) -> None:
    old = await now(store, f"Task/{task}")
    await decide_and_assign(store, task)
    before = await counts(store)

    with pytest.raises(VersionConflict):
        await ask(store, put(old, caller="plan", if_match=1))

    assert await counts(store) == before


async def test_the_plan_closes_with_a_reason(store: Store, task: str) -> None:
    theirs = await decide_and_assign(store, task)

    await plan_says(
        store,
        task,
        status="cancelled",
        statusReason=reason("no-longer-eligible"),
        executionPeriod={"end": "2026-11-19"},
    )

    stored = await the_referral(store, task)
    assert stored.referral.closure
    assert stored.referral.closure.on == date(2026, 11, 19)
    assert (await now(store, f"Task/{theirs}"))["status"] == "cancelled"
    assert (await now(store, f"Task/{task}"))["statusReason"]["text"] != "Made-up words"


@pytest.mark.parametrize("status", ["cancelled", "rejected"])
async def test_the_plan_s_task_does_not_end_without_a_reason(
    store: Store, task: str, status: str
) -> None:
    with pytest.raises(RuleBroken) as refused:
        await plan_says(store, task, status=status)

    assert refused.value.rule == "closure-needs-reason"


async def test_the_plan_refuses_a_referral_by_closing_it(store: Store, task: str) -> None:
    await plan_says(
        store, task, status="rejected", statusReason=reason("no-longer-eligible", "No member")
    )

    stored = await the_referral(store, task)
    assert stored.referral.closure
    assert [n.type for n in await notices(store, stored)] == ["loop-closed"]


async def test_when_nobody_would_take_it_the_plan_closes_it(store: Store, task: str) -> None:
    theirs = await decide_and_assign(store, task)
    await provider_says(store, theirs, status="rejected")

    await plan_says(store, task, status="failed", statusReason=reason("provider-declined"))

    assert (await the_referral(store, task)).referral.closure
    assert (await now(store, f"Task/{task}"))["status"] == "failed"
    assert (await now(store, f"Task/{theirs}"))["status"] == "rejected"


async def test_a_status_and_a_reason_that_disagree_are_refused(store: Store, task: str) -> None:
    await decide_and_assign(store, task)

    for status, why in (("completed", "unable-to-reach"), ("failed", "services-received")):
        with pytest.raises(RuleBroken) as refused:
            await plan_says(store, task, status=status, statusReason=reason(why))
        assert refused.value.rule == "status-disagrees"
    with pytest.raises(RuleBroken):
        await plan_says(store, task, status="completed", businessStatus=said("accepted"))


async def test_what_the_client_wrote_besides_stays_and_the_rules_elements_do_not(
    store: Store, task: str
) -> None:
    await decide_and_assign(store, task)
    own = [{"type": {"text": "Letter"}, "valueString": "sent"}]

    await plan_says(
        store,
        task,
        description="The plan's own words",
        businessStatus=said("outreach-initiated"),
        executionPeriod={"start": "2020-01-01"},
        output=own,
    )

    after = await now(store, f"Task/{task}")
    assert after["description"] == "The plan's own words"
    assert after["output"][0] == own[0]
    assert code_in(after["businessStatus"], canonical.REFERRAL_STATUS) == "pending"
    assert after["executionPeriod"] == {"start": TODAY.isoformat()}
    assert decision_in(after)[0] == "approved"


async def test_what_the_referrer_wrote_stays_where_the_plan_leaves_it_out(store: Store) -> None:
    theirs: Json = {
        "identifier": [{"system": "https://ehr.example/task", "value": "T-1"}],
        "note": [{"text": "Call after five"}],
        "input": [{"type": {"text": "Language"}, "valueString": "Spanish"}],
        "output": [{"type": {"text": "Letter"}, "valueString": "sent"}],
    }
    task = await refer(store, task=a_task(**theirs))
    stored = await now(store, f"Task/{task}")
    minimal = {k: v for k, v in stored.items() if k not in theirs}
    decided = {"output": decided_output(), "note": [{"text": "By the plan"}]}

    await ask(store, put({**minimal, **decided}, caller="plan"))

    after = await now(store, f"Task/{task}")
    assert {k: after[k] for k in ("identifier", "input")} == {
        k: theirs[k] for k in ("identifier", "input")
    }
    assert after["output"][0] == theirs["output"][0]
    assert after["note"] == [{"text": "By the plan"}]
    assert decision_in(after)[0] == "approved"


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        (None, False),
        ({"coding": [{"system": canonical.SERVICE, "code": "doula"}]}, False),
        ({"coding": [{"system": canonical.HCPCS, "code": "G9008"}], "text": "Care"}, True),
    ],
)
async def test_the_provider_is_asked_for_the_service_that_was_referred_to(
    store: Store, task: str, code: Json | None, kept: bool
) -> None:
    ids = resource_ids(await the_referral(store, task))
    reference = f"ServiceRequest/{ids.service_request}"
    sent = {k: v for k, v in (await now(store, reference)).items() if k != "code"}
    await ask(store, put(sent | ({"code": code} if code else {}), caller="clinic"))

    await decide_and_assign(store, task)

    copies = resource_ids(await the_referral(store, task)).assignments[0]
    asked = (await now(store, f"ServiceRequest/{copies.service_request}"))["code"]
    assert (asked == code) is kept
    assert kept or code_in(asked, canonical.SERVICE) == "ecm"


@pytest.mark.parametrize("element", ["requester", "owner", "for", "focus", "code", "intent"])
async def test_who_and_what_a_task_is_for_does_not_change(
    store: Store, task: str, element: str
) -> None:
    others: dict[str, Any] = {
        "code": {"coding": [{"system": canonical.TASK_CODE, "code": "change"}]},
        "intent": "plan",
    }
    changed = others.get(element, {"reference": "Organization/hearth"})

    with pytest.raises(RuleBroken) as refused:
        await plan_says(store, task, **{element: changed})

    assert (refused.value.rule, refused.value.issues[0].place) == (
        "fixed-element",
        f"Task.{element}",
    )


async def test_by_command_the_plan_decides_and_assigns(store: Store, task: str) -> None:
    decided = await by_command(store, task, a_decision())
    assigned = await by_command(store, task, an_assignment())
    again = await by_command(store, task, an_assignment())

    assert [r.outcome for r in (decided, assigned, again)] == ["recorded", "recorded", "unchanged"]
    assert [n.type.value for n in (*decided.owed, *assigned.owed)] == [
        "authorization-decided",
        "provider-assigned",
    ]
    stored = await the_referral(store, task)
    assert [e.told.evidence.channel for e in await events(store, stored)] == [
        "fhir",
        "command",
        "command",
    ]


async def test_by_command_too_only_the_plan_and_known_partners_act(store: Store, task: str) -> None:
    with pytest.raises(RuleBroken):
        await by_command(store, task, a_decision(), by="harbor")
    with pytest.raises(BadSetting):
        await by_command(store, task, a_decision(), by="nobody")
    with pytest.raises(Unknown):
        await store.write(act_on_referral, "none", a_decision(), by="plan", recording=a_recording())


async def test_a_decision_open_at_the_closure_is_told_and_shown_after_it(
    store: Store, task: str
) -> None:
    await by_command(store, task, a_decision("pending", basis="presumptive"))
    await by_command(store, task, an_assignment())
    await by_command(store, task, a_closure(provider=HARBOR))

    denied = await by_command(store, task, a_decision("denied", ASSIGNED + timedelta(10)))

    assert (denied.outcome, denied.rule) == ("review", "after-closure")
    assert [n.type.value for n in denied.owed] == ["authorization-decided"]
    assert denied.referral.closure
    assert denied.referral.closure.reason == "services-received"
    shown = await now(store, f"Task/{task}")
    assert (shown["status"], decision_in(shown)[0]) == ("completed", "denied")


async def test_a_report_by_the_plan_s_side_names_the_provider(store: Store, task: str) -> None:
    await by_command(store, task, a_decision())
    await by_command(store, task, an_assignment())

    told = await by_command(store, task, a_report("accepted"))

    assert told.referral.assignment
    assert told.referral.assignment.statuses[-1].by_plan is False
    assert (await store.read(read, "Task", task)).last_updated == NOW
