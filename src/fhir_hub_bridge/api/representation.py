"""The last step of every answer: FHIR JSON as it is, or in the form that the caller asked for.

Interactions know JSON only; here alone an answer becomes XML, or indented for a reader's eye.
https://hl7.org/fhir/R4/http.html#parameters
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from fhir_hub_bridge.api.answers import outcome
from fhir_hub_bridge.api.media_types import FHIR_JSON, FHIR_XML, answer_form
from fhir_hub_bridge.errors import ResourceRejected
from fhir_hub_bridge.fhir.codec import Limits, parse_json, pretty
from fhir_hub_bridge.fhir.xml_writer import to_xml

ANSWER_DEPTH: Final = 128
"""How deep a Bundle of what is stored may be, which is deeper than what is taken."""


def represented(request: Request, response: Response) -> Response:
    """The same answer in the form that was asked for; headers other than of its body stay.

    What XML cannot say is answered 406 where only reading was asked; a write that is done is
    answered in JSON, for its status must not tell otherwise.
    """
    is_xml, is_pretty = answer_form(request) == "xml", _is_pretty(request)
    if response.media_type != FHIR_JSON or not (is_xml or is_pretty):
        return response
    # Our own words, and Bundles of what is stored: larger and deeper than what is taken.
    limits = Limits(size_bytes=len(response.body), depth=ANSWER_DEPTH)
    resource = parse_json(bytes(response.body), limits=limits)
    if not is_xml:
        return _with_body(response, pretty(resource).encode(), FHIR_JSON)
    try:
        return _with_body(response, to_xml(resource, indented=is_pretty), FHIR_XML)
    except ResourceRejected as error:
        is_read = request.method in ("GET", "HEAD") and response.status_code < 400
        return outcome(error.issues, status=406) if is_read else response


def _is_pretty(request: Request) -> bool:
    return request.query_params.get("_pretty", "").lower() == "true"


def _with_body(response: Response, body: bytes, media_type: str) -> Response:
    response.body = body
    response.media_type = media_type
    response.headers["Content-Type"] = media_type
    response.headers["Content-Length"] = str(len(body))
    return response
