"""Strict JSON: what is taken, what is refused, and that texts of numbers survive."""

from __future__ import annotations

import copy
import json
import pickle
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir.codec import ExactDecimal, Limits, parse_json, pretty, to_bytes


def refused(data: bytes, limits: Limits = Limits()) -> Issue:  # noqa: B008 - a frozen value
    with pytest.raises(ResourceRejected) as caught:
        parse_json(data, limits=limits)
    (issue,) = caught.value.issues
    assert issue.code == "structure"
    assert issue.message
    return issue


@pytest.mark.parametrize(
    ("data", "rule", "place"),
    [
        (b'{"a":1,"a":2}', "json-duplicate-key", "$this.a"),
        (
            b'{"resourceType":"Task","note":[{"text":"x"},{"text":"x","text":"y"}]}',
            "json-duplicate-key",
            "Task.note[1].text",
        ),
        (b'{"a":1,"\\u0061":2}', "json-duplicate-key", "$this.a"),
        (b'{"a":{"b":":"},"a":{}}', "json-duplicate-key", "$this.a"),
        (b'{"a":":","\\u003a":1,":":2}', "json-duplicate-key", "$this.?"),
        (b'{"a":NaN}', "json-number", "$this.a"),
        (b'{"a":[1,-Infinity]}', "json-number", "$this.a[1]"),
        (b'{"a":1e400}', "json-number", "$this.a"),
        (b'{"a":-1e400}', "json-number", "$this.a"),
        (b'{"a":1e-400}', "json-number", "$this.a"),
        (b'{"a":1e99999999999999999999}', "json-number", "$this.a"),
        (b'{"a":0e-99999999999999999999}', "json-number", "$this.a"),
        (b'{"a":' + b"1" * 4301 + b"}", "json-number", "$this.a"),
        (b'{"a":0.' + b"1" * 4300 + b"}", "json-number", "$this.a"),
        (b'{"a":"\\ud800"}', "json-surrogate", "$this.a"),
        (b'{"a":"\\udc00\\ud800"}', "json-surrogate", "$this.a"),
        (b'{"\\ud800":1}', "json-surrogate", "$this.?"),
        (b'{"a":"x\\u0000"}', "json-nul", "$this.a"),
        (b'{"a\\u0000":1}', "json-nul", "$this.?"),
        (b'{"a":"x\x00"}', "json-syntax", "line 1, column 8"),
        (b'\xef\xbb\xbf{"a":1}', "json-encoding", ""),
        ('{"a":1}'.encode("utf-16"), "json-encoding", ""),
        ('{"a":1}'.encode("utf-16-le"), "json-encoding", ""),
        ('{"a":1}'.encode("utf-32-be"), "json-encoding", ""),
        (b'{"a":"\xff"}', "json-encoding", "byte 6"),
        (b'{"a":"\xed\xa0\x80"}', "json-encoding", "byte 6"),
        (b'{"a":1} x', "json-syntax", "line 1, column 9"),
        (b'{"a":1}{}', "json-syntax", "line 1, column 8"),
        (b'{"a":1,}', "json-syntax", "line 1, column 8"),
        (b'{\n "a":\n}', "json-syntax", "line 3, column 1"),
        (b'{"a":01}', "json-syntax", "line 1, column 7"),
        (b"{'a':1}", "json-syntax", "line 1, column 2"),
        (b'{"a":"\t"}', "json-syntax", "line 1, column 7"),
        (b'{"a":1', "json-syntax", "line 1, column 7"),
        (b'{"a":"', "json-syntax", "line 1, column 6"),
        (b"", "json-syntax", "line 1, column 1"),
        (b"[]", "json-object", ""),
        (b"null", "json-object", ""),
        (b'"x"', "json-object", ""),
        (b"12", "json-object", ""),
        (b"1.5", "json-object", ""),
    ],
)
def test_faulty_body_is_refused_naming_place_and_rule(data: bytes, rule: str, place: str) -> None:
    issue = refused(data)

    assert (issue.rule, issue.place) == (rule, place)


def test_refusal_repeats_nothing_that_was_sent() -> None:
    issue = refused(b'{"Maria Lopez":1,"Maria Lopez":2}')

    assert "Maria" not in f"{issue}"


def test_depth_of_64_is_taken_and_65_refused() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' * depth + b"1" + b"}" * depth

    assert parse_json(nested(64))
    assert refused(nested(65)).rule == "json-depth"
    assert refused(b'{"a":1.5,"b":' + b"[" * 64 + b"]" * 64 + b"}").rule == "json-depth"
    assert refused(b'{"a":' * 200_000).rule == "json-depth"


def test_brackets_in_strings_are_no_depth_and_hide_none() -> None:
    assert parse_json(b'{"a":1e2,"b":"' + b"[" * 100 + b'"}')
    assert refused(b'["]",' * 70 + b"1" + b"]" * 70).rule == "json-depth"


def test_body_larger_than_the_limit_is_refused_unread() -> None:
    assert parse_json(b'{"a":1}', limits=Limits(size_bytes=7))
    assert refused(b'{"a":1}', limits=Limits(size_bytes=6)).rule == "body-size"


def test_unclosed_string_full_of_quotes_is_refused_at_once() -> None:
    assert refused(b'{"a":"' + b'\\"' * 2_000_000).rule == "json-syntax"


@pytest.mark.parametrize(
    "text",
    ["72.50", "0.0", "-0.0", "1e2", "1E+2", "0.0000001", "1.0e-5", "100000000000000000000.10"],
)
def test_number_with_fraction_or_exponent_keeps_its_text(text: str) -> None:
    data = f'{{"value":{text},"n":[{text}]}}'.encode()

    resource = parse_json(data)

    assert resource["value"] == Decimal(text)
    assert to_bytes(resource) == data
    assert to_bytes(copy.deepcopy(resource)) == data
    assert to_bytes(pickle.loads(pickle.dumps(resource))) == data  # noqa: S301


def test_whole_numbers_stay_int_of_any_size() -> None:
    long = 10**400 + 7
    data = f'{{"a":3,"b":{2**63},"c":{2**64},"d":-{2**70},"e":{long}}}'.encode()

    resource = parse_json(data)

    assert resource == {"a": 3, "b": 2**63, "c": 2**64, "d": -(2**70), "e": long}
    assert all(type(value) is int for value in resource.values())
    assert to_bytes(resource) == data


def test_escaped_text_reads_as_itself() -> None:
    assert parse_json(b'{"a":"\\u003a\\u003A:","b":"\\\\u0000","c":"\\ud83d\\ude00"}') == {
        "a": ":::",
        "b": "\\u0000",
        "c": "😀",
    }


def test_plain_decimals_of_ours_are_written_and_nonsense_is_not() -> None:
    assert to_bytes({"a": Decimal("72.50")}) == b'{"a":72.50}'
    for nonsense in (Decimal("NaN"), Decimal("Infinity"), object()):
        with pytest.raises(TypeError):
            to_bytes({"a": nonsense})


def test_pretty_is_the_same_json_for_people() -> None:
    resource = {"resourceType": "Task", "input": [{"valueDecimal": ExactDecimal("72.50")}]}

    text = pretty(resource)

    assert "\n" in text
    assert "72.50" in text
    assert parse_json(text.encode()) == resource


KEYS = st.sampled_from(["a", "b", ":", "id", "é", "x:y"])
NUMBERS = st.from_regex(r"\A-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?\Z")
STRINGS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    STRINGS,
    NUMBERS.map(lambda text: ExactDecimal(text) if set(text) & set(".eE") else int(text)),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | STRINGS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(STRINGS, VALUES, max_size=5))
def test_what_is_written_reads_back_with_the_texts_of_its_numbers(resource: dict[str, Any]) -> None:
    data = to_bytes(resource)

    assert parse_json(data) == resource
    assert to_bytes(parse_json(data)) == data


def a_text(draw: st.DrawFn, depth: int) -> str:
    """Write JSON by hand, so that keys repeat, escapes vary and white space is odd."""
    space = draw(st.sampled_from(["", " ", "\n"]))
    kind = draw(st.integers(0, 3 if depth else 1))
    if kind == 0:
        return draw(NUMBERS)
    if kind == 1:
        return draw(
            st.sampled_from(['"a:b"', '"\\u003a"', '"\\":"', '"\\\\"', '"{["', "null", '"é"'])
        )
    if kind == 2:
        return f"[{','.join(a_text(draw, depth - 1) for _ in range(draw(st.integers(0, 3))))}]"
    pairs = []
    for _ in range(draw(st.integers(0, 3))):
        key = draw(st.sampled_from(['"a"', '"\\u0061"', '"b:"', '":"', '"\\u003A"']))
        pairs.append(f"{key}{space}:{space}{a_text(draw, depth - 1)}")
    return "{" + ",".join(pairs) + "}"


@st.composite
def texts(draw: st.DrawFn) -> str:
    return f'{{"r":{a_text(draw, 3)}}}'


class Twice(Exception):
    pass


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise Twice
    return dict(pairs)


@settings(max_examples=400)
@given(texts())
def test_reading_agrees_with_the_standard_library_but_for_doubled_keys(text: str) -> None:
    try:
        expected = json.loads(text, parse_float=Decimal, object_pairs_hook=once)
    except Twice:
        assert refused(text.encode()).rule == "json-duplicate-key"
        return

    assert parse_json(text.encode()) == expected


@settings(max_examples=300)
@given(st.binary(max_size=40) | texts().map(lambda text: text.encode()[:-2]))
def test_any_bytes_are_read_or_refused_with_an_issue(data: bytes) -> None:
    try:
        parse_json(data)
    except ResourceRejected as error:
        assert len(error.issues) == 1
