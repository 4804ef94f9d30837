"""The place where a page of a search ended, as text in its `next` link that nobody need read.

It names a version and its time, and holds no value of a resource: links end in logs.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.exceptions import HTTPException

from fhir_hub_bridge.store.resource_search import Place

PARAMETER: Final = "_cursor"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TEXT: Final = re.compile(r"([0-9]{1,17})\.([1-9][0-9]{0,8})\.([A-Za-z0-9.-]{1,64})", re.ASCII)


def write_cursor(place: Place) -> str:
    """The place as URL-safe text."""
    micros = (place.last_updated - _EPOCH) // timedelta(microseconds=1)
    text = f"{micros}.{place.version}.{place.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str) -> Place:
    """The place again. Raises 400 for a text that is none of ours."""
    try:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        decoded = ""
    found = _TEXT.fullmatch(decoded)
    if found is None:
        raise HTTPException(400, "This page's link cannot be read; begin the search again.")
    return Place(_EPOCH + timedelta(microseconds=int(found[1])), found[3], int(found[2]))
