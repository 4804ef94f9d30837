"""JSON Patch on resources: decimals keep their text, the input its place, sizes their limits."""

from __future__ import annotations

from typing import Any

import pytest

from fhir_hub_bridge.errors import ResourceRejected
from fhir_hub_bridge.fhir.codec import parse_json, to_bytes
from fhir_hub_bridge.fhir.patch import patched, read_patch


def refused(resource: dict[str, Any], *operations: dict[str, Any]) -> str:
    with pytest.raises(ResourceRejected) as caught:
        patched(resource, operations)
    return caught.value.issues[0].rule


def test_every_operation_of_the_standard_is_done() -> None:
    operations = read_patch(
        b'[{"op":"test","path":"/a","value":[1]},{"op":"add","path":"/a/-","value":2},'
        b'{"op":"copy","from":"/a","path":"/b"},{"op":"move","from":"/a","path":"/c"},'
        b'{"op":"replace","path":"/b/0","value":3},{"op":"remove","path":"/d"}]'
    )

    assert patched({"a": [1], "d": None}, operations) == b'{"b":[3,2],"c":[1,2]}'


def test_decimals_keep_their_text() -> None:
    resource = parse_json(b'{"kept":1.10,"old":2}')
    operations = read_patch(b'[{"op":"replace","path":"/old","value":72.500}]')

    assert patched(resource, operations) == b'{"kept":1.10,"old":72.500}'


def test_the_same_patch_may_be_applied_again() -> None:
    resource = {"a": {"b": []}}
    operations = read_patch(
        b'[{"op":"add","path":"/x","value":{"y":[]}},{"op":"add","path":"/x/y/-","value":1},'
        b'{"op":"add","path":"/a/b/-","value":1}]'
    )

    first, second = patched(resource, operations), patched(resource, operations)

    assert first == second == b'{"a":{"b":[1]},"x":{"y":[1]}}'
    assert to_bytes(resource) == b'{"a":{"b":[]}}'


def test_what_cannot_be_done_is_refused_by_its_rule() -> None:
    assert refused({"a": 1}, {"op": "test", "path": "/a", "value": 2}) == "patch-test"
    assert refused({"a": 1}, {"op": "test", "path": "/b", "value": 2}) in (
        "patch-test",
        "patch-path",
    )
    assert refused({"a": 1}, {"op": "remove", "path": "/b"}) == "patch-path"
    assert refused({"a": 1}, {"op": "add", "path": "/a/b", "value": 1}) == "patch-path"
    assert refused({"a": []}, {"op": "add", "path": "/a/x", "value": 1}) == "patch-path"
    assert refused({"a": []}, {"op": "add", "path": "/a/9", "value": 1}) == "patch-path"
    doubling = [{"op": "copy", "from": "/a", "path": "/a/-"}] * 40
    assert refused({"a": ["x" * 1000]}, *doubling) == "patch-size"


@pytest.mark.parametrize(
    "body",
    [
        b'{"op":"add"}',
        b"[7]",
        b'[{"op":"add","path":"/a"}]',
        b'[{"op":"move","path":"/a"}]',
        b'[{"op":"copy","path":"/a","from":"b"}]',
        b'[{"op":["add"],"path":"/a","value":1}]',
        b'[{"op":"add","path":7,"value":1}]',
        b'[{"op":"add","path":"/a~2","value":1}]',
        b'[{"op":"add","path":"/a","path":"/b","value":1}]',
    ],
)
def test_what_is_no_patch_is_refused(body: bytes) -> None:
    with pytest.raises(ResourceRejected) as caught:
        read_patch(body)

    assert caught.value.issues[0].code == "structure"


def test_what_would_be_nested_deeper_than_can_be_written_is_refused() -> None:
    below = "/a" * 60
    value: Any = 1
    for _ in range(60):
        value = {"a": value}
    nesting = [{"op": "add", "path": "/a" + below * n, "value": value} for n in range(20)]
    copying = {"op": "copy", "from": "/a", "path": "/b"}

    assert refused({}, *nesting) == "patch-size"
    assert refused({}, *nesting, copying) == "patch-size"
    assert refused({}, *nesting, *nesting, {"op": "test", "path": "/a", "value": value}) in (
        "patch-size",
        "patch-test",
    )
