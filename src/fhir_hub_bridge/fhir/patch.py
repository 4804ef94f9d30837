"""JSON Patch on a resource: all of it or nothing, and never more than a body may hold.

Before: `intake.patch_resource`. After: `jsonpatch`. https://www.rfc-editor.org/rfc/rfc6902
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final, NoReturn

import jsonpatch
from jsonpointer import JsonPointer, JsonPointerException

from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir.codec import DEFAULT_LIMITS, Json, parse_array, to_bytes

MAX_OPERATIONS: Final = 200

# What each operation needs besides `op` and `path`.
_OPERATIONS: Final = MappingProxyType(
    {"add": "value", "replace": "value", "test": "value", "move": "from", "copy": "from"}
    | {"remove": "path"}
)


def read_patch(data: bytes) -> tuple[Json, ...]:
    """Read a patch's operations, as strictly as a resource is read.

    Raises ResourceRejected (code `structure`) for what is no JSON Patch.
    """
    rows = parse_array(data)
    if len(rows) > MAX_OPERATIONS:
        _refuse("patch-size", f"A patch may hold at most {MAX_OPERATIONS} operations.")
    for number, row in enumerate(rows):
        if not _is_operation(row):
            _refuse("patch-form", f"Operation {number} is not one of JSON Patch, or lacks a part.")
    return tuple(rows)


def patched(resource: Json, operations: Sequence[Json]) -> bytes:
    """The body that a patch makes of a resource, not yet judged; the input stays as it is.

    Raises ResourceRejected: `patch-test` for a test that fails, `patch-path` for a place that is
    not there, `patch-size` for a result that copies too much or is nested too deep to be written.
    """
    document, steps = copy.deepcopy((resource, tuple(operations)))
    copied = 0
    for number, operation in enumerate(steps):
        try:
            document = jsonpatch.JsonPatch([operation]).apply(document, in_place=True)
        except jsonpatch.JsonPatchTestFailed:
            _fail("patch-test", f"The test of operation {number} fails.")
        except (jsonpatch.JsonPatchException, JsonPointerException, TypeError, KeyError):
            _fail("patch-path", f"Operation {number} names a place that is not there.")
        except RecursionError:
            _too_deep()
        if operation["op"] == "copy":  # each may double what is there, and takes its time
            copied += len(_written(document))
            if copied > DEFAULT_LIMITS.size_bytes:
                _fail("patch-size", "The patch copies too much.")
    return _written(document)


def _written(document: Any) -> bytes:
    """The document's JSON; operations can nest it deeper than any body that is read."""
    try:
        return to_bytes(document)
    except (TypeError, RecursionError):
        _too_deep()


def _too_deep() -> NoReturn:
    _fail("patch-size", "The patch nests the resource too deep.")


def _is_operation(row: Any) -> bool:
    operation = row.get("op") if isinstance(row, dict) else None
    if not isinstance(operation, str) or operation not in _OPERATIONS:
        return False
    if _OPERATIONS[operation] not in row:
        return False
    pointers = (row.get("path"), row.get("from", ""))
    try:
        return all(isinstance(text, str) and JsonPointer(text) for text in pointers)
    except JsonPointerException:
        return False


def _refuse(rule: str, message: str) -> NoReturn:
    raise ResourceRejected(issues=[Issue("", message, code="structure", rule=rule)])


def _fail(rule: str, message: str) -> NoReturn:
    raise ResourceRejected(issues=[Issue("", message, code="processing", rule=rule)])
