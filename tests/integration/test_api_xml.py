"""XML at the FHIR door, on both databases: the same resources, errors and headers as in JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.api_client import BASE, a_bridge, a_client, a_task, keep, register
from tests.console_stories import BRIDGES, CLINIC, HEART, PLAN

from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.codec import ExactDecimal, Json, parse_json, to_bytes
from fhir_hub_bridge.fhir.xml_reader import parse_xml
from fhir_hub_bridge.fhir.xml_writer import to_xml
from fhir_hub_bridge.store.transaction import Store

FHIR_JSON = "application/fhir+json"
FHIR_XML = "application/fhir+xml"
IN_XML = {"Content-Type": FHIR_XML, "Accept": FHIR_XML}
IN_JSON = {"Content-Type": FHIR_JSON, "Accept": FHIR_JSON}
WEIGHT = "https://ehr.example/weight"


@pytest.fixture
async def client(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    await register(store, [PLAN, CLINIC, HEART, BRIDGES])
    async with a_client(a_bridge(store)) as open_client:
        yield open_client


def a_patient(**changes: Any) -> Json:
    """A made-up person with all that the two forms write differently."""
    return {
        "resourceType": "Patient",
        "text": {
            "status": "generated",
            "div": '<div xmlns="http://www.w3.org/1999/xhtml">Testina<br /> E.</div>',
        },
        "extension": [{"url": WEIGHT, "valueDecimal": ExactDecimal("72.50")}],
        "identifier": [{"system": canonical.MEDI_CAL_CIN, "value": "91234567A"}],
        "active": True,
        "name": [
            {
                "family": "Example",
                "given": ["Testina", "T."],
                "_given": [None, {"extension": [{"url": WEIGHT, "valueInteger": 1}]}],
            }
        ],
        "_birthDate": {"extension": [{"url": WEIGHT, "valueCode": "unknown"}]},
        **changes,
    }


def a_referral() -> Json:
    """A transaction with a referral from the clinic to the plan."""
    patient, request, task = (f"urn:uuid:7d0d2e0a-0000-4000-8000-00000000000{n}" for n in range(3))
    resources = {
        patient: a_patient(),
        request: {
            "resourceType": "ServiceRequest",
            "identifier": [{"system": "https://ehr.example/referral", "value": "R-1"}],
            "status": "active",
            "intent": "order",
            "code": {"coding": [{"system": canonical.SERVICE, "code": "ecm"}]},
            "subject": {"reference": patient},
            "requester": {"reference": "Organization/clinic"},
            "authoredOn": "2026-11-19",
        },
        task: a_task(
            "",
            code={"coding": [{"system": canonical.TASK_CODE, "code": "fulfill"}]},
            focus={"reference": request},
            owner={"reference": "Organization/sunrise"},
        )
        | {"for": {"reference": patient}},
    }
    del resources[task]["id"]
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": name,
                "resource": resource,
                "request": {"method": "POST", "url": resource["resourceType"]},
            }
            for name, resource in resources.items()
        ],
    }


def in_xml(answer: httpx.Response, status: int = 200) -> Json:
    """The resource of an answer that must be XML."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == FHIR_XML
    if "content-encoding" not in answer.headers:  # else the length is that of what was packed
        assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["x-request-id"]
    return parse_xml(answer.content)


def unstamped(resource: Json) -> bytes:
    """A resource as its sender knows it, decimals with their text."""
    return to_bytes({k: resource[k] for k in sorted(resource) if k not in ("id", "meta")})


async def test_what_is_created_in_one_form_is_read_in_both(client: httpx.AsyncClient) -> None:
    patient = a_patient()

    for headers, body in ((IN_XML, to_xml(patient)), (IN_JSON, to_bytes(patient))):
        created = await client.post("/fhir/Patient", content=body, headers=headers)
        address = created.headers["location"].partition("/_history")[0]
        as_json = await client.get(address, headers={"Accept": FHIR_JSON})
        as_xml = await client.get(address, headers={"Accept": FHIR_XML})

        assert created.status_code == 201
        assert created.headers["content-type"] == headers["Accept"]
        assert created.headers["etag"] == 'W/"1"'
        assert created.headers["last-modified"] == as_xml.headers["last-modified"]
        assert unstamped(parse_json(as_json.content)) == unstamped(patient)
        assert to_bytes(in_xml(as_xml)) == to_bytes(parse_xml(to_xml(parse_json(as_json.content))))
        assert unstamped(in_xml(as_xml)) == unstamped(parse_xml(to_xml(patient)))
        assert as_xml.headers["etag"] == as_json.headers["etag"] == 'W/"1"'


async def test_a_referral_comes_in_as_a_transaction_in_xml(client: httpx.AsyncClient) -> None:
    headers = {**IN_XML, "X-Partner": "clinic"}

    answer = await client.post("/fhir", content=to_xml(a_referral()), headers=headers)
    again = await client.post("/fhir", content=to_xml(a_referral()), headers=headers)
    found = await client.get("/fhir/Task", params={"status": "requested", "_format": "xml"})

    bundle = in_xml(answer)
    assert bundle["type"] == "transaction-response"
    assert [entry["response"]["status"] for entry in bundle["entry"]] == ["201 Created"] * 3
    assert again.content == answer.content
    searchset = in_xml(found)
    assert (searchset["type"], searchset["total"]) == ("searchset", 1)
    assert searchset["entry"][0]["resource"]["focus"]["reference"].startswith("ServiceRequest/")


async def test_update_in_xml_honours_if_match(store: Store, client: httpx.AsyncClient) -> None:
    patient = a_patient(id="pat1")
    await keep(store, patient)
    changed = to_xml({**patient, "active": False})

    stale = await client.put(
        "/fhir/Patient/pat1", content=changed, headers={**IN_XML, "If-Match": 'W/"9"'}
    )
    answer = await client.put(
        "/fhir/Patient/pat1", content=changed, headers={**IN_XML, "If-Match": 'W/"1"'}
    )

    assert in_xml(stale, 412)["issue"][0]["code"] == "conflict"
    assert in_xml(answer)["active"] is False
    assert answer.headers["etag"] == 'W/"2"'
    assert answer.headers["last-modified"]


@pytest.mark.requirement("task-5")
async def test_search_history_and_metadata_are_answered_in_xml(
    store: Store, client: httpx.AsyncClient
) -> None:
    await keep(store, a_task("t1"), a_task("t2"))

    page = in_xml(await client.get("/fhir/Task?_count=1&_format=application/fhir%2Bxml"))
    rest = in_xml(await client.get(page["link"][1]["url"].removeprefix(BASE)))
    form = in_xml(await client.post("/fhir/Task/_search", data={"_format": "xml"}))
    history = in_xml(await client.get("/fhir/Task/t1/_history", headers=IN_XML))
    statement = in_xml(await client.get("/fhir/metadata", headers=IN_XML))

    ids = [entry["resource"]["id"] for found in (page, rest) for entry in found["entry"]]
    assert ids == ["t2", "t1"]
    assert form["total"] == 2
    assert history["type"] == "history"
    assert statement["format"] == [FHIR_JSON, "json", FHIR_XML, "xml"]
    assert statement == (await client.get("/fhir/metadata")).json()


async def test_every_kind_of_error_is_told_in_xml(
    store: Store, client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    good = to_xml(a_patient())
    cases = [
        (await client.get("/fhir/Patient/nobody", headers=IN_XML), 404, "not-found"),
        (await client.get("/fhir/Nonsense/1", headers=IN_XML), 404, "not-supported"),
        (await client.delete("/fhir/Patient", headers=IN_XML), 405, "not-supported"),
        (await client.get("/fhir/Task?status:x=y", headers=IN_XML), 400, "value"),
        (await client.get("/fhir/Task", headers={**IN_XML, "X-Partner": "?"}), 403, "forbidden"),
        (await client.get("/fhir/Task", headers={**IN_XML, "Host": "evil"}), 421, "not-supported"),
        (await client.post("/fhir/Task", content=good, headers=IN_XML), 400, "structure"),
        (
            await client.post(
                "/fhir/Patient",
                content=to_xml(a_patient(birthDate="Testina", _birthDate={"id": "a"})),
                headers=IN_XML,
            ),
            422,
            "value",
        ),
        (
            await client.post("/fhir/Patient?_format=xml", content=b"{}", headers=IN_JSON),
            400,
            "structure",
        ),
        (
            await client.post("/fhir/Patient", content=good[:-9], headers=IN_XML),
            400,
            "structure",
        ),
        (
            await client.post(
                "/fhir/Patient", content=good, headers={**IN_XML, "Content-Type": "text/plain"}
            ),
            415,
            "not-supported",
        ),
    ]
    store.read = lambda *args, **kwargs: 1 / 0  # type: ignore[method-assign, assignment]
    cases.append((await client.get("/fhir/Task/t1", headers=IN_XML), 500, "exception"))

    for answer, status, code in cases:
        outcome = in_xml(answer, status)

        assert outcome["resourceType"] == "OperationOutcome"
        assert outcome["issue"][0]["code"] == code, answer.text
        assert "Testina" not in answer.text + capsys.readouterr().out


PATIENT_XML = '<Patient xmlns="http://hl7.org/fhir">{}</Patient>'
BAD_BODIES = {
    "xml-dtd": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    + PATIENT_XML.format('<id value="&x;"/>'),
    "xml-instruction": PATIENT_XML.format("<?go away?>"),
    "xml-order": PATIENT_XML.format('<active value="true"/><id value="a"/>'),
    "xml-element": PATIENT_XML.format('<nickname value="a"/>'),
    "xml-namespace": "<Patient/>",
}


async def test_xml_that_is_not_plainly_fhir_is_refused(client: httpx.AsyncClient) -> None:
    for rule, body in BAD_BODIES.items():
        answer = await client.post("/fhir/Patient", content=body, headers=IN_XML)

        issue = in_xml(answer, 400)["issue"][0]
        assert issue["details"]["coding"][0]["code"] == rule
        assert issue["code"] == "structure"


XML_NAMES = ("application/xml", "text/xml; charset=utf-8", f"{FHIR_XML}; fhirVersion=4.0")
OTHER_NAMES = (f"{FHIR_XML}; fhirVersion=5.0", f"{FHIR_XML}; charset=latin-1", "image/svg+xml")


async def test_xml_by_its_other_names_is_taken_and_what_only_looks_like_it_is_not(
    client: httpx.AsyncClient,
) -> None:
    body = to_xml(a_patient())

    for name in (*XML_NAMES, *OTHER_NAMES):
        answer = await client.post("/fhir/Patient", content=body, headers={"Content-Type": name})

        assert answer.status_code == (201 if name in XML_NAMES else 415), name
        assert answer.headers["content-type"] == FHIR_JSON


XML_WANTED = (
    ("application/fhir+xml", ""),
    ("application/xml", ""),
    ("text/xml", ""),
    ("application/fhir+xml; fhirVersion=4.0", ""),
    ("application/fhir+json;q=0.4, application/fhir+xml;q=0.9", ""),
    ("application/fhir+xml, */*;q=0.1", ""),
    ("application/fhir+json;q=0, */*", ""),
    ("application/fhir+json; fhirVersion=5.0, application/fhir+xml", ""),
    ("text/turtle, application/fhir+xml;q=0.001", ""),
    ("application/fhir+json", "xml"),
    ("application/fhir+json", "application/fhir%2Bxml"),
    ("application/fhir+json", "application/fhir+xml"),
    ("text/turtle", "text/xml"),
)
JSON_WANTED = (
    ("", ""),
    ("*/*", ""),
    ("application/*", ""),
    ("application/fhir+xml, application/fhir+json", ""),
    ("application/fhir+xml;q=0.9, application/fhir+json;q=0.91", ""),
    ("application/fhir+xml;q=0, */*;q=0.5", ""),
    ("application/fhir+xml", "json"),
    ("application/fhir+xml", "application/fhir+json"),
)


async def test_the_form_is_what_format_or_else_accept_likes_best(
    client: httpx.AsyncClient,
) -> None:
    for wanted, form in ((XML_WANTED, FHIR_XML), (JSON_WANTED, FHIR_JSON)):
        for accept, format_ in wanted:
            path = f"/fhir/metadata?_format={format_}"
            answer = await client.get(path, headers={"Accept": accept})

            assert answer.status_code == 200, (accept, format_)
            assert answer.headers["content-type"] == form, (accept, format_)


async def test_head_and_304_have_the_headers_of_xml_without_its_body(
    store: Store, client: httpx.AsyncClient
) -> None:
    await keep(store, a_task("t1"))

    whole = await client.get("/fhir/Task/t1", headers=IN_XML)
    head = await client.head("/fhir/Task/t1", headers=IN_XML)
    same = await client.get("/fhir/Task/t1", headers={**IN_XML, "If-None-Match": 'W/"1"'})

    assert head.status_code == 200
    for name in ("content-type", "content-length", "etag", "last-modified"):
        assert head.headers[name] == whole.headers[name]
    assert (same.status_code, same.content) == (304, b"")


async def test_less_answer_is_less_in_xml_too(client: httpx.AsyncClient) -> None:
    answers = {
        wanted: await client.post(
            "/fhir/Patient",
            content=to_xml(a_patient(active=wanted == "minimal")),
            headers={**IN_XML, "Prefer": f"return={wanted}"},
        )
        for wanted in ("minimal", "OperationOutcome")
    }

    assert (answers["minimal"].status_code, answers["minimal"].content) == (201, b"")
    assert answers["minimal"].headers["location"]
    assert in_xml(answers["OperationOutcome"], 201)["resourceType"] == "OperationOutcome"


async def test_pretty_answers_say_the_same(store: Store, client: httpx.AsyncClient) -> None:
    await keep(store, a_patient(id="pat1"))

    for form, read in (("json", parse_json), ("xml", parse_xml)):
        plain = await client.get(f"/fhir/Patient/pat1?_format={form}")
        pretty = await client.get(f"/fhir/Patient/pat1?_format={form}&_pretty=true")
        found = await client.get(f"/fhir/Patient?_format={form}&_pretty=true")

        assert pretty.content.count(b"\n") > 10 > plain.content.count(b"\n")
        assert to_bytes(read(pretty.content)) == to_bytes(read(plain.content))
        assert len(read(found.content)["entry"]) == 1
