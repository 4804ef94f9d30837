"""capabilities: what this server can do. https://hl7.org/fhir/R4/http.html#capabilities"""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from starlette.responses import Response

from fhir_hub_bridge.api.answers import answer
from fhir_hub_bridge.api.call import Call
from fhir_hub_bridge.api.capability import capability_statement
from fhir_hub_bridge.api.registry import RESOURCES, SYSTEM

_VERSION: Final = version("fhir-hub-bridge")


async def capabilities(call: Call) -> Response:
    """200 with the CapabilityStatement; the same for every `mode`."""
    return answer(capability_statement(RESOURCES, SYSTEM, base=call.base, version=_VERSION))
