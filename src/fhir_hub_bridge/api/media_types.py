"""Which representation is spoken: FHIR JSON or XML, each way, and a clear no to every other.

https://hl7.org/fhir/R4/http.html#mime-type
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request

Form: TypeAlias = Literal["json", "xml"]


FHIR_JSON: Final = "application/fhir+json"
FHIR_XML: Final = "application/fhir+xml"
JSON_PATCH: Final = "application/json-patch+json"

_NAMES: Final[Mapping[Form, frozenset[str]]] = MappingProxyType(
    {
        "json": frozenset({FHIR_JSON, "application/json", "text/json"}),
        "xml": frozenset({FHIR_XML, "application/xml", "text/xml"}),
    }
)
# The less a range says, the later it counts.
_RANGES: Final = (frozenset({"application/*"}), frozenset({"*/*"}))
_ENGLISH: Final = (
    f"FHIR R4 is spoken here as JSON ({FHIR_JSON}) and as XML ({FHIR_XML}), nothing else."
)
_SHORT: Final[Mapping[str, Form]] = MappingProxyType({"json": "json", "xml": "xml"})
_QUALITY: Final = re.compile(r"[01](?:\.[0-9]{0,3})?")


def check_accept(request: Request) -> None:
    """Raise 406 unless JSON or XML of FHIR 4.0 is an answer the caller takes.

    `_format` stands over the Accept header; without both, JSON it is.
    """
    check_format(request, request.query_params.get("_format", ""))


def check_format(request: Request, wanted: str) -> None:
    """Raise 406 unless this `_format` is ours; an empty one leaves it to the Accept header."""
    form = _form_named(wanted) if wanted else _form_accepted(request)
    if form is None:
        raise HTTPException(406, _ENGLISH)
    request.state.form = form


def answer_form(request: Request) -> Form:
    """The form that the answer takes; JSON where there is none that the caller takes."""
    if not hasattr(request.state, "form"):
        try:
            check_accept(request)
        except HTTPException:
            request.state.form = "json"
    form: Form = request.state.form
    return form


def check_content_type(request: Request) -> Form:
    """Raise 415 unless the body says it is JSON or XML of FHIR 4.0 in UTF-8, uncompressed.

    A missing Content-Type is refused too: browsers send such a body for any page that asks, but
    ask our leave first for one of these types.
    """
    declared = request.headers.get("content-type", "")
    name, parameters = _split(declared)
    utf8 = parameters.get("charset", "utf-8").lower() in ("utf-8", "utf8")
    form = _form_of(name)
    if form is None or not utf8 or not _is_of_r4(parameters):
        raise HTTPException(415, f"{_ENGLISH} Send Content-Type: {FHIR_JSON}.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "Bodies are taken uncompressed only.")
    return form


def _form_named(wanted: str) -> Form | None:
    # A plus sign that was not escaped arrives as a space.
    name, parameters = _split(wanted.strip().replace(" ", "+"))
    return (_SHORT.get(name) or _form_of(name)) if _is_of_r4(parameters) else None


def _form_accepted(request: Request) -> Form | None:
    """The form that the Accept header likes best; JSON where it likes both as well."""
    accept = ",".join(request.headers.getlist("accept"))
    if not accept.strip():
        return "json"
    ranges = [
        (name, _quality(parameters))
        for name, parameters in map(_split, accept.split(","))
        if _is_of_r4(parameters)
    ]
    liking = {form: _liking(names, ranges) for form, names in _NAMES.items()}
    best = max(liking, key=lambda form: liking[form])
    return best if liking[best] else None


def _liking(names: frozenset[str], ranges: list[tuple[str, float]]) -> float:
    """How much ranges like what has these names: the range that says most about it decides."""
    for level in (names, *_RANGES):
        if found := [quality for name, quality in ranges if name in level]:
            return max(found)
    return 0


def _quality(parameters: Mapping[str, str]) -> float:
    text = parameters.get("q", "1")
    return float(text) if _QUALITY.fullmatch(text) else 1


def _form_of(name: str) -> Form | None:
    return next((form for form, names in _NAMES.items() if name in names), None)


def _is_of_r4(parameters: Mapping[str, str]) -> bool:
    return parameters.get("fhirversion", "4.0") in ("4.0", "4.0.1")


def _split(text: str) -> tuple[str, dict[str, str]]:
    name, *rest = text.split(";")
    pairs = (part.partition("=") for part in rest)
    return name.strip().lower(), {
        key.strip().lower(): value.strip().strip('"') for key, _, value in pairs
    }
