"""$validate: what there is to say of a resource, with nothing stored.

https://hl7.org/fhir/R4/resource-operation-validate.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from fhir_hub_bridge.api.answers import answer
from fhir_hub_bridge.api.bodies import read_resource
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.errors import Issue
from fhir_hub_bridge.fhir.codec import Json, parse_json
from fhir_hub_bridge.fhir.outcome import operation_outcome
from fhir_hub_bridge.fhir.validate import validated
from fhir_hub_bridge.store import resources

_MODES: Final = ("", "create", "update", "delete", "profile")


async def validate(call: Call) -> Response:
    """200 with an OperationOutcome, be the resource valid or not; 400 for what cannot be read.

    Without a resource, the one stored under the id is judged. Raises Unknown.
    """
    asked = _asked(call, await _body(call))
    if asked.mode not in _MODES:
        raise HTTPException(400, f"The mode must be one of {', '.join(_MODES[1:])}.")
    resource = asked.resource
    if resource is None and "id" in call.request.path_params:
        stored = await call.bridge.store.read(resources.read, call.type, call.id)
        resource = parse_json(stored.body)
    if resource is None:
        raise HTTPException(400, "There is no resource to validate.")
    if asked.mode == "delete":
        return answer(operation_outcome([]))
    # A large resource takes seconds; others are answered meanwhile.
    issues = _misplaced(call, asked, resource) or await run_in_threadpool(
        validated, resource, profiles=asked.profiles, library=call.bridge.library
    )
    return answer(operation_outcome(issues))


@dataclass(frozen=True, slots=True)
class _Asked:
    """The operation's parameters, in whichever way they came."""

    resource: Json | None
    profiles: tuple[str, ...]
    mode: str


async def _body(call: Call) -> Json | None:
    if call.request.method in ("GET", "HEAD"):
        return None
    return parse_json(await read_resource(call.request))


def _asked(call: Call, body: Json | None) -> _Asked:
    query = call.request.query_params
    profiles, mode = query.getlist("profile"), query.get("mode", "")
    if body is None or body.get("resourceType") != "Parameters":
        return _Asked(body, tuple(profiles), mode)
    parameters = body.get("parameter", [])
    if not isinstance(parameters, list) or not all(isinstance(p, dict) for p in parameters):
        raise HTTPException(400, "The Parameters cannot be read.")
    resource = next((p.get("resource") for p in parameters if p.get("name") == "resource"), None)
    if resource is not None and not isinstance(resource, dict):
        raise HTTPException(400, "The parameter resource is no resource.")
    profiles += _values(parameters, "profile")
    return _Asked(resource, tuple(profiles), next(iter(_values(parameters, "mode")), mode))


def _values(parameters: list[Json], name: str) -> list[str]:
    """The texts of a parameter, whatever type they are said to have."""
    found: list[Any] = [
        value
        for parameter in parameters
        if parameter.get("name") == name
        for key, value in parameter.items()
        if key.startswith("value")
    ]
    return [value for value in found if isinstance(value, str)]


def _misplaced(call: Call, asked: _Asked, resource: Json) -> list[Issue]:
    """What keeps the resource from being written at this address at all."""
    if resource.get("resourceType") != call.type:
        message = f"The resource is not a {call.type}."
        return [Issue("", message, code="structure", rule="resource-type")]
    is_update = asked.mode == "update" and "id" in call.request.path_params
    if is_update and resource.get("id") != call.id:
        message = "The id in the body is not the one in the URL."
        return [Issue(f"{call.type}.id", message, rule="id-differs")]
    return []
