"""Every refusal and failure as an OperationOutcome; none says more than its caller may know.

https://hl7.org/fhir/R4/http.html#Status-Codes
"""

from __future__ import annotations

from typing import Final

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fhir_hub_bridge.api.addresses import FHIR
from fhir_hub_bridge.api.answers import answer, outcome
from fhir_hub_bridge.api.representation import represented
from fhir_hub_bridge.errors import BridgeError, Issue, OutcomeUnknown, StoreBusy
from fhir_hub_bridge.fhir.outcome import outcome_of, status_of
from fhir_hub_bridge.logs import places_of

_log = structlog.get_logger()

# HTTP status -> IssueType code, for refusals that the standard leaves to HTTP.
_ISSUE_TYPES: Final = {
    400: "invalid",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    413: "too-long",
    415: "not-supported",
    421: "not-supported",
}
_RETRY: Final = {"Retry-After": "1"}


async def answer_refusal(request: Request, error: Exception) -> Response:
    """A refusal by a route, or of an address or method that no route has."""
    assert isinstance(error, HTTPException)  # noqa: S101  registered for this class alone
    message, code = error.detail, _ISSUE_TYPES.get(error.status_code, "processing")
    if error.status_code == 404:
        message = "Nothing is served at this address."
        if request.url.path.startswith(f"{FHIR}/"):
            message += " What is served is listed at /fhir/metadata."
            code = "not-supported"
    elif error.status_code == 405:
        message = "This interaction is not supported here."
    issues = [Issue("", message, code=code)]
    response = outcome(issues, status=error.status_code, headers=error.headers)
    return represented(request, response)


async def answer_error(request: Request, error: Exception) -> Response:
    """An error of ours: what is wrong with the request, or that it must be tried again."""
    assert isinstance(error, BridgeError)  # noqa: S101  registered for this class alone
    status = status_of(error)
    if status >= 500 and not isinstance(error, StoreBusy | OutcomeUnknown):
        return answer_failure(request, error)
    headers = _RETRY if status == 503 else None
    return represented(request, answer(outcome_of(error), status=status, headers=headers))


def answer_failure(request: Request, error: Exception) -> Response:
    """A failure of ours: logged by kind and place, since its text may hold a member's data."""
    request_id = request.state.request_id
    _log.error(
        "A request failed.",
        error=type(error).__name__,
        request_id=request_id,
        at=places_of(error.__traceback__),
    )
    message = (
        f"Something went wrong on our side; nothing is known to be stored. Request {request_id}."
    )
    return represented(request, outcome([Issue("", message, code="exception")], status=500))
