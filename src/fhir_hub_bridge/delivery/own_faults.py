"""A fault of ours in a loop that must go on: logged by its kind and place.

Never by its text, which may quote what was being sent.
"""

from __future__ import annotations

import structlog

log = structlog.get_logger()


def log_own_fault(sentence: str, error: Exception, **ids: str) -> None:
    """Log the error's class and the line that raised it, beside `ids`."""
    log.error(sentence, error=type(error).__name__, where=_where(error), **ids)


def _where(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{trace.tb_frame.f_globals.get('__name__', '')}:{trace.tb_lineno}"
