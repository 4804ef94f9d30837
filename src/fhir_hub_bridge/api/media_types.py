"""Which representation is spoken: FHIR JSON both ways, and a clear no to every other.

https://hl7.org/fhir/R4/http.html#mime-type
"""

from __future__ import annotations

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

FHIR_JSON: Final = "application/fhir+json"
JSON_PATCH: Final = "application/json-patch+json"

_JSON: Final = frozenset({FHIR_JSON, "application/json", "text/json"})
_FORMATS: Final = _JSON | {"json"}
_RANGES: Final = _JSON | {"*/*", "application/*"}
_ENGLISH: Final = "FHIR R4 as JSON (application/fhir+json) is served here; XML is not."


def check_accept(request: Request) -> None:
    """Raise 406 unless JSON of FHIR 4.0 is an answer the caller takes.

    `_format` stands over the Accept header; an absent header takes anything.
    """
    wanted = request.query_params.get("_format")
    if wanted is not None:
        check_format(wanted)
        return
    accept = request.headers.get("accept", "")
    if accept and not any(_takes_json(part, _RANGES) for part in accept.split(",")):
        raise HTTPException(406, _ENGLISH)


def check_format(wanted: str) -> None:
    """Raise 406 unless this `_format` is ours; an empty one asks for nothing."""
    # A plus sign that was not escaped arrives as a space.
    if wanted and not _takes_json(wanted.replace(" ", "+"), _FORMATS):
        raise HTTPException(406, _ENGLISH)


def check_content_type(request: Request) -> None:
    """Raise 415 unless the body says it is JSON of FHIR 4.0 in UTF-8, uncompressed.

    A missing Content-Type is refused too: browsers send such a body for any page that asks, but
    ask our leave first for one that says application/json.
    """
    declared = request.headers.get("content-type", "")
    _, parameters = _split(declared)
    utf8 = parameters.get("charset", "utf-8").lower() in ("utf-8", "utf8")
    if not _takes_json(declared, _JSON) or not utf8:
        raise HTTPException(415, f"{_ENGLISH} Send Content-Type: {FHIR_JSON}.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "Bodies are taken uncompressed only.")


def _takes_json(text: str, names: frozenset[str]) -> bool:
    name, parameters = _split(text)
    version_fits = parameters.get("fhirversion", "4.0") in ("4.0", "4.0.1")
    return name in names and version_fits and not _is_zero(parameters.get("q", "1"))


def _split(text: str) -> tuple[str, dict[str, str]]:
    name, *rest = text.split(";")
    pairs = (part.partition("=") for part in rest)
    return name.strip().lower(), {
        key.strip().lower(): value.strip().strip('"') for key, _, value in pairs
    }


def _is_zero(quality: str) -> bool:
    try:
        return float(quality) == 0
    except ValueError:
        return False
