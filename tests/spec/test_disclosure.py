"""What a referring entity sees: an allow-list, proven with words that must never come out."""

from __future__ import annotations

from dataclasses import fields

import pytest
from tests.builders import (
    APPROVED,
    ASSIGNED_TO_HARBOR,
    BASE_URL,
    CIN,
    CLINIC,
    HARBOR,
    a_closure,
    a_decision,
    a_recording,
    a_referral,
    a_report,
    a_rulebook,
    an_agreement,
    an_assignment,
    lived,
    moments,
)

from fhir_hub_bridge.connectors.spreadsheet_guard import table_bytes
from fhir_hub_bridge.fhir.codec import Json, to_bytes
from fhir_hub_bridge.mapping.notice_to_fhir import NoticeContent, message
from fhir_hub_bridge.mapping.notice_to_row import COLUMNS, notice_row
from fhir_hub_bridge.mapping.referral_to_fhir import ResourceIds, Translating, translate
from fhir_hub_bridge.mapping.sheet import Sheet
from fhir_hub_bridge.referral.disclosure import (
    ReferringEntityView,
    view_of_referring_entity,
    view_of_report,
)
from fhir_hub_bridge.referral.model import Act, ReferralStatus, Report
from fhir_hub_bridge.referral.notices import notices_owed

RULEBOOK = a_rulebook()
CANARIES = ("PLANCANARY", "TEXTCANARY", "Madeup", "Marta", CIN)
"""A plan's code, a provider's words, and the member: none of it leaves."""


def outgoing(*acts: Act) -> list[tuple[str, bytes, Json]]:
    """Each notice of this story: its type, its bytes by either channel, its FHIR message.

    As `intake.notices_frozen` makes them, without a database.
    """
    ids, minted = ResourceIds(), iter(f"id{n}" for n in range(1000))
    sheet = Sheet({})
    by = Translating(RULEBOOK, a_recording().now, lambda: next(minted))
    told: list[tuple[str, bytes, Json]] = []
    for event, referral in moments(*acts):
        ids = translate(referral, (event,), ids=ids, sheet=sheet, by=by)
        owed, _ = notices_owed(
            referral, (event,), agreement=an_agreement(every_status=True), rulebook=RULEBOOK
        )
        for notice in owed:
            task = f"Task/{ids.task}"
            content = NoticeContent(
                id="n1",
                type=notice.type,
                view=view_of_referring_entity(referral, RULEBOOK),
                task=f"{task}/_history/{sheet.version(task)}",
                service_request=f"ServiceRequest/{ids.service_request}",
                sender=referral.plan,
                recipient=CLINIC.party,
                report=view_of_report(event.act) if isinstance(event.act, Report) else None,
                task_status=str(sheet.now(task)["status"]),
            )
            bundle = message(content, notice, base_url=BASE_URL, with_task=True)
            told.append(
                (
                    notice.type.value,
                    to_bytes(bundle) + table_bytes(COLUMNS, [notice_row(content)]),
                    bundle,
                )
            )
    return told


STORIES: dict[str, tuple[Act, ...]] = {
    "served": (
        *ASSIGNED_TO_HARBOR,
        a_report("accepted", 1, text="TEXTCANARY"),
        a_closure(on=3, text="TEXTCANARY", plan_code="PLANCANARY"),
    ),
    "declined": (
        *ASSIGNED_TO_HARBOR,
        a_report("declined", 1, text="TEXTCANARY"),
        a_closure("provider-declined", 2, None, text="TEXTCANARY", plan_code="PLANCANARY"),
    ),
    "closed-by-its-provider": (
        *ASSIGNED_TO_HARBOR,
        a_closure("provider-declined", 1, text="TEXTCANARY", plan_code="PLANCANARY"),
    ),
    "other": (*ASSIGNED_TO_HARBOR, a_closure("other", 1, text="TEXTCANARY")),
    "denied": (a_decision("denied", reason_code="PLANCANARY"),),
}


@pytest.mark.requirement("CLR-DISC-2")
@pytest.mark.parametrize("story", STORIES)
def test_no_free_text_no_plan_code_and_no_member_leaves_in_any_notice(story: str) -> None:
    told = outgoing(*STORIES[story])

    assert told
    for _, sent, _ in told:
        for canary in CANARIES:
            assert canary.encode() not in sent


@pytest.mark.requirement("CLR-DISC-2")
@pytest.mark.parametrize("story", STORIES)
def test_the_provider_s_task_and_request_are_in_no_notice(story: str) -> None:
    referral, events = lived(*STORIES[story])
    ids, minted = ResourceIds(), iter(f"id{n}" for n in range(1000))
    by = Translating(RULEBOOK, a_recording().now, lambda: next(minted))
    ids = translate(referral, events[:3], ids=ids, sheet=Sheet({}), by=by)
    theirs = [i for copies in ids.assignments for i in (copies.task, copies.service_request)]

    for _, sent, _ in outgoing(*STORIES[story]):
        for id_ in theirs:
            assert f"/{id_}/".encode() not in sent
            assert f'{id_}"'.encode() not in sent


@pytest.mark.requirement("CLR-DISC-1")
def test_a_referring_entity_s_view_has_these_facts_and_no_others() -> None:
    assert [f.name for f in fields(ReferringEntityView)] == [
        "clr_id",
        "identifiers",
        "service",
        "status",
        "authorization_status",
        "authorization_label",
        "authorization_reason",
        "authorized_on",
        "provider",
        "closure_reason",
        "closure_label",
        "closed_on",
    ]


@pytest.mark.requirement("CLR-DISC-1")
def test_why_it_was_denied_is_told_and_why_it_was_approved_is_not() -> None:
    denied = view_of_referring_entity(a_referral(a_decision("denied")), RULEBOOK)
    approved = view_of_referring_entity(a_referral(a_decision(reason="TEXTCANARY")), RULEBOOK)

    assert denied.authorization_reason == "Criteria are not met"
    assert (approved.authorization_label, approved.authorization_reason) == ("Approved", "")


@pytest.mark.requirement("CLR-DISC-1")
def test_the_closure_is_told_in_dhcs_s_words_with_its_date() -> None:
    closed = a_referral(*ASSIGNED_TO_HARBOR, a_closure("other", 4, text="TEXTCANARY"))

    view = view_of_referring_entity(closed, RULEBOOK)

    assert (view.closure_reason, view.closure_label) == ("other", "Other")
    assert view.closed_on == closed.closure.on if closed.closure else None


@pytest.mark.requirement("CLR-DISC-1")
def test_each_notice_says_its_own_fact() -> None:
    sentences = [
        bundle["entry"][0]["resource"]["payload"][0]["contentString"]
        for _, _, bundle in outgoing(*STORIES["served"])
    ]

    assert sentences == [
        "Referral R-1: authorization approved on 2026-11-04.",
        "Referral R-1: assigned to Harbor Example.",
        "Referral R-1: accepted on 2026-11-06.",
        "Referral R-1: referral loop closed on 2026-11-08: Services Received.",
    ]


@pytest.mark.requirement("CLR-CLOSE-4")
def test_a_loop_that_is_still_open_is_never_told_as_closed() -> None:
    (_, sent, bundle) = outgoing(*STORIES["closed-by-its-provider"])[-1]

    assert b"loop-closed" not in sent
    assert b"Loop Closed" not in sent
    assert "declined" in bundle["entry"][0]["resource"]["payload"][0]["contentString"]


@pytest.mark.requirement("CLR-DISC-1")
def test_the_partner_s_view_of_the_task_goes_through_legal_states() -> None:
    statuses = [
        bundle["entry"][1]["resource"]["status"] for _, _, bundle in outgoing(*STORIES["served"])
    ]

    assert statuses == ["accepted", "in-progress", "in-progress", "completed"]


@pytest.mark.requirement("CLR-DISC-1")
def test_a_provider_s_report_is_told_without_reason_and_words() -> None:
    said = a_report("outreach-initiated", 3, text="TEXTCANARY", plan_code="PLANCANARY")

    view = view_of_report(said)

    assert view == Report(ReferralStatus.OUTREACH_INITIATED, said.on)


@pytest.mark.requirement("CLR-DISC-1")
def test_the_file_has_these_columns_and_one_row() -> None:
    content = NoticeContent(
        id="n1",
        type=notices_owed(
            *(lived(*APPROVED)[0], lived(*APPROVED)[1][1:]),
            agreement=an_agreement(),
            rulebook=RULEBOOK,
        )[0][0].type,
        view=view_of_referring_entity(a_referral(*APPROVED, an_assignment(HARBOR)), RULEBOOK),
        task="Task/t1/_history/2",
        service_request="ServiceRequest/s1",
        sender=CLINIC.party,
        recipient=CLINIC.party,
    )

    header, row, end = table_bytes(COLUMNS, [notice_row(content)]).decode().split("\r\n")

    assert header == ",".join(COLUMNS)
    assert row.startswith("n1,authorization-decided,R-1,clr1,pending,,approved,,Harbor Example,")
    assert end == ""


@pytest.mark.requirement("CLR-DISC-2")
def test_no_cell_of_a_file_is_a_spreadsheet_s_formula() -> None:
    referral = a_referral(a_decision("denied", reason="=HYPERLINK(1)"))
    content = NoticeContent(
        id="-1",
        type=notices_owed(
            referral,
            lived(a_decision("denied", reason="=1"))[1],
            agreement=an_agreement(),
            rulebook=RULEBOOK,
        )[0][0].type,
        view=view_of_referring_entity(referral, RULEBOOK),
        task="Task/t1/_history/2",
        service_request="ServiceRequest/s1",
        sender=CLINIC.party,
        recipient=CLINIC.party,
    )

    row = table_bytes(COLUMNS, [notice_row(content)]).decode().split("\r\n")[1]

    assert row.startswith("'-1,")
    assert ",'=HYPERLINK(1)," in row
