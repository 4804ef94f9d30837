"""What a partner's FHIR server said, as an Answer: its status first, then what its body admits.

Pure. A 2xx counts as taken unless the body takes it back: an OperationOutcome of severity error, a
refused entry, or a web page where a FHIR server should be. https://hl7.org/fhir/R4/http.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

from fhir_hub_bridge.connectors.interface import Accepted, Answer, Refused, Unavailable

BODY_LIMIT: Final = 1024 * 1024  # bytes; what is larger is not read
_TRY_AGAIN: Final = frozenset({408, 425, 429})
_ISSUE_CODE: Final = re.compile(r"[a-z][a-z-]{0,39}")
_WEB_PAGE: Final = re.compile(rb"\s*<(!doctype\s+html|html)", re.IGNORECASE)


def read_answer(
    status: int, body: bytes | None, *, media_type: str, retry_after: str, now: datetime
) -> Answer:
    """Judge an HTTP answer.

    `body` is None when it is larger than BODY_LIMIT, and ignored unless the status is 2xx.
    `retry_after` is that header's text, measured from `now` (aware) where it is a date.
    """
    if status in _TRY_AGAIN or status >= 500:
        wish = _retry_after(retry_after, now)
        return Unavailable(f"HTTP {status}", status=status, retry_after=wish)
    if 300 <= status < 400:
        return Refused(f"HTTP {status}: redirects are not followed", status=status)
    if not 200 <= status < 300:
        return Refused(f"HTTP {status}", status=status)
    if body is None:
        return Refused(f"HTTP {status}, but more than {BODY_LIMIT} bytes of answer", status=status)
    if _is_web_page(body, media_type):
        return Refused(f"HTTP {status}, but a web page and no FHIR", status=status)
    if objection := next(_objections(_parsed(body)), ""):
        return Refused(f"HTTP {status}, but {objection}", status=status)
    return Accepted(status)


def _retry_after(text: str, now: datetime) -> timedelta | None:
    text = text.strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=int(text)) if len(text) <= 6 else timedelta(days=1)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    # An HTTP date is always GMT (RFC 9110, 5.6.7), whatever its zone's spelling.
    return max(timedelta(0), (at if at.tzinfo else at.replace(tzinfo=UTC)) - now)


def _is_web_page(body: bytes, media_type: str) -> bool:
    # A login page or a proxy answers 200 too; taking that for told would lose the notice.
    return bool(body.strip()) and (
        media_type.lower().startswith("text/html") or _WEB_PAGE.match(body) is not None
    )


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _objections(resource: Any) -> Iterator[str]:
    """What a 2xx takes back, in our words: their text may speak of a member."""
    match resource:
        case {"resourceType": "OperationOutcome", "issue": list(issues)}:
            for issue in issues:
                match issue:
                    case {"severity": "error" | "fatal" as severity, **rest}:
                        yield f"an OperationOutcome: {severity} {_code(rest.get('code'))}".rstrip()
        case {"resourceType": "Bundle", "entry": list(entries)}:
            for number, entry in enumerate(entries, start=1):
                match entry:
                    case {"response": {"status": str(status), **rest}}:
                        if not status.startswith("2"):
                            said = status[:3] if status[:3].isdigit() else "no status"
                            yield f"entry {number} answered {said}"
                        for objection in _objections(rest.get("outcome")):
                            yield f"entry {number} has {objection}"


def _code(code: Any) -> str:
    return code if isinstance(code, str) and _ISSUE_CODE.fullmatch(code) else ""
