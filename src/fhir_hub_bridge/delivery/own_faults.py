"""A fault of ours in a loop that must go on: logged by its kind and place.

Never by its text, which may quote what was being sent.
"""

from __future__ import annotations

import structlog

from fhir_hub_bridge.logs import places_of

log = structlog.get_logger()


def log_own_fault(sentence: str, error: Exception, **ids: str) -> None:
    """Log the error's class and the line that raised it, beside `ids`."""
    log.error(
        sentence, error=type(error).__name__, at=places_of(error.__traceback__, last=1), **ids
    )
