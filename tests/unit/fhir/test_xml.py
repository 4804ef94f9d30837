"""FHIR XML both ways: the same JSON comes back, and what could mean two things is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_hub_bridge.errors import Issue, ResourceRejected
from fhir_hub_bridge.fhir.codec import ExactDecimal, Limits, parse_json, to_bytes
from fhir_hub_bridge.fhir.definitions import resource_types
from fhir_hub_bridge.fhir.xml_reader import parse_xml
from fhir_hub_bridge.fhir.xml_writer import to_xml

SHARED = Path(__file__).resolve().parents[4] / "shared" / "fhir"
EXAMPLES = [
    path
    for path in sorted(
        [*SHARED.glob("**/examples/*.json"), *SHARED.glob("sdohcc-2.3.0-rendered/*.json")]
    )
    if path.name.split("-")[0].split("_")[0] in resource_types()
]
needs_examples = pytest.mark.skipif(not EXAMPLES, reason="SKIPPED LOUDLY: ../shared/fhir not found")

R4 = 'xmlns="http://hl7.org/fhir"'
DIV = '<div xmlns="http://www.w3.org/1999/xhtml"><p>A &amp; b<br/>c&#160;d <!-- e --></p></div>'

# As a partner might write it by hand: every kind of element that XML and JSON tell apart.
TASK_XML = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<!-- a made-up referral -->
<Task {R4}>
  <id value="t1"/>
  <meta>
    <versionId value="2"/>
    <profile value="https://hub.example/one"/>
    <profile value="https://hub.example/two"/>
  </meta>
  <text><status value="additional"/>{DIV}</text>
  <contained>
    <Patient><id value="pat"/><active value="true"/></Patient>
  </contained>
  <contained><Organization><id value="org"/></Organization></contained>
  <extension url="https://hub.example/weight">
    <valueQuantity><value value="72.50"/><unit value="kg"/></valueQuantity>
  </extension>
  <status value="requested"><extension url="u"><valueInteger value="-3"/></extension></status>
  <intent value="order"/>
  <description value="line&#10;two &quot;&lt;tab&gt;&quot;&#9;&amp;"/>
  <for><reference value="#pat"/></for>
  <note id="n1"><text value="a"/></note>
  <note><text value="b"/></note>
  <input>
    <type><text value="count"/></type>
    <valueDecimal value="1e2"/>
  </input>
</Task>
""".encode()
TASK: dict[str, Any] = {
    "resourceType": "Task",
    "id": "t1",
    "meta": {
        "versionId": "2",
        "profile": ["https://hub.example/one", "https://hub.example/two"],
    },
    "text": {"status": "additional", "div": DIV},
    "contained": [
        {"resourceType": "Patient", "id": "pat", "active": True},
        {"resourceType": "Organization", "id": "org"},
    ],
    "extension": [
        {
            "url": "https://hub.example/weight",
            "valueQuantity": {"value": ExactDecimal("72.50"), "unit": "kg"},
        }
    ],
    "status": "requested",
    "_status": {"extension": [{"url": "u", "valueInteger": -3}]},
    "intent": "order",
    "description": 'line\ntwo "<tab>"\t&',
    "for": {"reference": "#pat"},
    "note": [{"id": "n1", "text": "a"}, {"text": "b"}],
    "input": [{"type": {"text": "count"}, "valueDecimal": ExactDecimal("1e2")}],
}


def as_text(resource: Any) -> Any:
    """JSON values in which decimals are the same only if their texts are."""
    return json.loads(to_bytes(resource), parse_float=lambda text: ("decimal", text))


def refused(data: str | bytes, limits: Limits = Limits()) -> Issue:  # noqa: B008 - a frozen value
    with pytest.raises(ResourceRejected) as caught:
        parse_xml(data if isinstance(data, bytes) else data.encode(), limits=limits)
    (issue,) = caught.value.issues
    assert issue.code == "structure"
    assert issue.message
    assert "SECRET" not in issue.message + issue.place + issue.value
    return issue


def patient(inside: str) -> str:
    return f"<Patient {R4}>{inside}</Patient>"


def test_xml_reads_as_the_json_form_would() -> None:
    assert as_text(parse_xml(TASK_XML)) == as_text(TASK)
    assert list(parse_xml(TASK_XML)) == list(TASK)


def test_json_written_as_xml_reads_back_whatever_its_order_and_indentation() -> None:
    backwards = dict(reversed(TASK.items()))

    for written in (to_xml(TASK), to_xml(TASK, indented=True), to_xml(backwards)):
        assert as_text(parse_xml(written)) == as_text(TASK)
    assert to_xml(backwards) == to_xml(TASK)


def test_xml_is_written_in_the_order_of_the_standard() -> None:
    resource = {
        "name": [
            {
                "given": [None, "Testina"],
                "_given": [{"id": "g"}, None],
                "family": "Example",
                "id": "n",
            }
        ],
        "active": False,
        "id": "p",
        "resourceType": "Patient",
    }

    assert to_xml(resource).decode() == (
        f'<?xml version="1.0" encoding="UTF-8"?><Patient {R4}><id value="p"/>'
        '<active value="false"/><name id="n"><family value="Example"/><given id="g"/>'
        '<given value="Testina"/></name></Patient>'
    )


@needs_examples
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_official_example_survives_xml(path: Path) -> None:
    resource = parse_json(path.read_bytes())

    back = parse_xml(to_xml(resource))

    assert as_text(back) == as_text(resource)
    assert as_text(parse_xml(to_xml(resource, indented=True))) == as_text(resource)


@pytest.mark.parametrize(
    "text", ["72.50", "0.0", "-0.0", "1e2", "1E+2", "0.0000001", "100000000000000000000.10", "3"]
)
def test_decimal_keeps_its_text(text: str) -> None:
    data = f'{{"resourceType":"Observation","valueQuantity":{{"value":{text}}}}}'.encode()

    written = to_xml(parse_json(data))

    assert f'<value value="{text}"/>'.encode() in written
    assert to_bytes(parse_xml(written)) == data


def test_a_list_of_primitives_of_which_none_has_a_value_is_left_out() -> None:
    resource = parse_xml(
        patient(
            '<name><given id="a"/><given id="b"/></name><name><given value="c"/></name>'
        ).encode()
    )

    assert resource["name"] == [{"_given": [{"id": "a"}, {"id": "b"}]}, {"given": ["c"]}]


def test_utf16_and_byte_order_marks_are_read() -> None:
    text = patient('<name><family value="Muñoz 😀"/></name>')
    declared = f'<?xml version="1.0" encoding="UTF-16"?>{text}'

    expected = parse_xml(text.encode())

    assert expected["name"][0]["family"] == "Muñoz 😀"
    assert parse_xml(b"\xef\xbb\xbf" + text.encode()) == expected
    assert parse_xml(declared.encode("utf-16")) == expected


def test_prefixes_and_schema_locations_change_nothing() -> None:
    data = (
        b'<f:Patient xmlns:f="http://hl7.org/fhir" xmlns:h="http://www.w3.org/1999/xhtml"'
        b' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        b' xsi:schemaLocation="http://hl7.org/fhir patient.xsd"><f:text>'
        b'<f:status value="additional"/><h:div xml:lang="es"><h:p class="x">a &lt; b<h:br/></h:p>'
        b"</h:div></f:text></f:Patient>"
    )

    assert parse_xml(data)["text"]["div"] == (
        '<div xmlns="http://www.w3.org/1999/xhtml" xml:lang="es">'
        '<p class="x">a &lt; b<br/></p></div>'
    )


NARRATIVES = {
    '<div xmlns="http://www.w3.org/1999/xhtml">a<br />b</div  >': None,
    '<div xmlns="http://www.w3.org/1999/xhtml"/>': None,
    '<div xmlns="http://www.w3.org/1999/xhtml"><div>a</div>\r\n</div>': None,
    "<div>a&nbsp;b</div>": '<div xmlns="http://www.w3.org/1999/xhtml">a\xa0b</div>',
    ' <div title="a">b</div>\n': '<div xmlns="http://www.w3.org/1999/xhtml" title="a">b</div>',
}


def test_narratives_keep_their_text_or_become_whole() -> None:
    for div, whole in NARRATIVES.items():
        text = {"status": "generated", "div": div}
        written = to_xml({"resourceType": "Patient", "text": text, "active": True})

        back = parse_xml(written)

        assert back["text"]["div"] == (whole or div)
        assert back["active"] is True


def test_marked_sections_in_a_narrative_become_plain_text() -> None:
    div = '<div xmlns="http://www.w3.org/1999/xhtml"><![CDATA[a<script>]]></div>'
    data = patient(f'<text><status value="generated"/>{div}</text>')

    assert parse_xml(data.encode())["text"]["div"] == (
        '<div xmlns="http://www.w3.org/1999/xhtml">a&lt;script&gt;</div>'
    )


LAUGHS = (
    '<!DOCTYPE lolz [<!ENTITY a "SECRET"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>' + patient('<id value="&c;"/>')
)
EXTERNAL = (
    f'<!DOCTYPE Patient [<!ENTITY x SYSTEM "file:///etc/passwd">]><Patient {R4}>&x;</Patient>'
)
OUTER_DTD = f'<!DOCTYPE Patient SYSTEM "http://evil.example/SECRET.dtd"><Patient {R4}/>'
EXTENSION = '<extension url="SECRET">{}</extension>'
SCRIPT = '<div xmlns="http://www.w3.org/1999/xhtml"><svg xmlns="http://www.w3.org/2000/svg"/></div>'
UNBOUND = '<div xmlns="http://www.w3.org/1999/xhtml"><x:p/></div>'

REFUSED = [
    (LAUGHS, "xml-dtd", "line 1"),
    (EXTERNAL, "xml-dtd", "line 1"),
    (OUTER_DTD, "xml-dtd", "line 1"),
    ("<!DOCTYPE html><html/>", "xml-dtd", "line 1"),
    (patient("&nbsp;"), "xml-syntax", "line 1, column 38"),
    (f'<?xml-stylesheet href="SECRET"?>{patient("")}', "xml-instruction", "line 1"),
    (patient("<?php SECRET ?>"), "xml-instruction", "line 1"),
    ("", "xml-syntax", "line 1, column 1"),
    ('{"resourceType":"Patient"}', "xml-syntax", "line 1, column 1"),
    (f"<Patient {R4}>", "xml-syntax", "line 1, column 38"),
    (patient("") + patient(""), "xml-syntax", "line 1, column 48"),
    (patient('<id value="a" value="b"/>'), "xml-syntax", "line 1, column 52"),
    (patient('<id value="\x00"/>'), "xml-syntax", "line 1, column 49"),
    (patient('<id value="&#0;"/>'), "xml-syntax", "line 1, column 49"),
    (patient('<id value="&#xD800;"/>'), "xml-syntax", "line 1, column 49"),
    (patient(f"<text>{UNBOUND}</text>"), "xml-syntax", "line 1, column 86"),
    (patient('<id value="@"/>').encode().replace(b"@", b"\xff"), "xml-syntax", "line 1, column 49"),
    ('<?xml version="1.0" encoding="latin-1"?>' + patient(""), "xml-encoding", "line 1"),
    (b"\xff\xfe<\x00\x00\xd8", "xml-encoding", ""),
    ("<Patient/>", "xml-namespace", "line 1"),
    ('<Patient xmlns="urn:SECRET"/>', "xml-namespace", "line 1"),
    (patient('<id xmlns="" value="a"/>'), "xml-namespace", "Patient.id"),
    (patient("<text><div>a</div></text>"), "xml-element", "Patient.text.div"),
    (f"<Nonsense {R4}/>", "xml-resource", "line 1"),
    (f"<DomainResource {R4}/>", "xml-resource", "line 1"),
    (f"<HumanName {R4}/>", "xml-resource", "line 1"),
    (patient("<contained><Secret/></contained>"), "xml-resource", "Patient.contained[0]"),
    (
        patient("<contained><Group/><Group/></contained>"),
        "xml-resource",
        "Patient.contained[0]",
    ),
    (patient("<contained/>"), "xml-empty", "Patient.contained[0]"),
    (patient("<shoeSize/>"), "xml-element", "Patient.shoeSize"),
    (patient("<SEC-RET/>"), "xml-element", "Patient.?"),
    (
        patient("<name><given><family/></given></name>"),
        "xml-element",
        "Patient.name[0].given[0].family",
    ),
    (patient('<active value="true" SECRET="x"/>'), "xml-attribute", "Patient.active"),
    (patient('<name value="SECRET"/>'), "xml-attribute", "Patient.name[0]"),
    (patient('<contained id="x"><Group/></contained>'), "xml-attribute", "Patient.contained[0]"),
    (f'<Patient {R4} id="SECRET"/>', "xml-attribute", "Patient"),
    (patient('<active value="true"/><id value="SECRET"/>'), "xml-order", "Patient.id"),
    (
        patient('<name><given value="a"/><family value="SECRET"/></name>'),
        "xml-order",
        "Patient.name[0].family",
    ),
    (
        patient('<name id="a"/><active value="true"/><name id="b"/>'),
        "xml-order",
        "Patient.active",
    ),
    (patient('<active value="true"/><active value="true"/>'), "xml-repeated", "Patient.active"),
    (
        patient(EXTENSION.format('<valueString value="a"/><valueCode value="b"/>')),
        "xml-choice",
        "Patient.extension[0].valueCode",
    ),
    (
        patient(EXTENSION.format('<valueString value="a"/><valueString value="b"/>')),
        "xml-repeated",
        "Patient.extension[0].valueString",
    ),
    (patient("SECRET"), "xml-text", "Patient"),
    (patient("<active>true</active>"), "xml-text", "Patient.active"),
    (patient("<name><![CDATA[SECRET]]></name>"), "xml-text", "Patient.name[0]"),
    (patient("<active/>"), "xml-empty", "Patient.active"),
    (patient("<name/>"), "xml-empty", "Patient.name[0]"),
    (patient('<name><given value="a"/><given/></name>'), "xml-empty", "Patient.name[0].given[1]"),
    (patient('<id value=""/>'), "xml-value", "Patient.id"),
    (patient('<name id=""><text value="a"/></name>'), "xml-value", "Patient.name[0]"),
    (patient('<active value="1"/>'), "xml-value", "Patient.active"),
    (patient('<active value=" true"/>'), "xml-value", "Patient.active"),
    (patient('<multipleBirthInteger value="1.0"/>'), "xml-value", "Patient.multipleBirthInteger"),
    (patient('<multipleBirthInteger value="01"/>'), "xml-value", "Patient.multipleBirthInteger"),
    (patient('<multipleBirthInteger value="١"/>'), "xml-value", "Patient.multipleBirthInteger"),
    (patient(f"<text>{SCRIPT}</text>"), "xml-narrative", "Patient.text.div"),
]


@pytest.mark.parametrize(("data", "rule", "place"), REFUSED)
def test_what_is_not_plainly_fhir_is_refused(data: str | bytes, rule: str, place: str) -> None:
    issue = refused(data)

    assert (issue.rule, issue.place) == (rule, place)


@pytest.mark.parametrize(
    "text",
    ["", "+1", ".5", "1.", "01", "1e400", "1e-400", "NaN", "INF", "1,5", " 1", "١", "1" * 4301],
)
def test_bad_decimals_are_refused(text: str) -> None:
    data = patient(EXTENSION.format(f'<valueDecimal value="{text}"/>'))

    issue = refused(data)

    assert (issue.rule, issue.place) == ("xml-value", "Patient.extension[0].valueDecimal")


def test_too_large_and_too_deep_are_refused_as_in_json() -> None:
    def nested(levels: int) -> str:
        return EXTENSION.format("") if levels == 1 else EXTENSION.format(nested(levels - 1))

    # The resource, and an array and an object for each extension: what JSON counts.
    deepest = parse_xml(patient(nested(31)).encode())

    assert parse_json(to_bytes(deepest)) == deepest
    assert refused(patient(nested(32))).rule == "xml-depth"
    assert refused(patient("<name>" * 100_000)).rule in ("xml-element", "xml-depth")
    assert refused(patient(""), Limits(size_bytes=10)).rule == "body-size"


UNWRITABLE = [
    ({"a": 1}, ""),
    ({"resourceType": "Nonsense"}, ""),
    ({"resourceType": "Patient", "shoeSize": 44}, "Patient"),
    ({"resourceType": "Patient", "name": {"text": "a"}}, "Patient.name"),
    ({"resourceType": "Patient", "name": ["a"]}, "Patient.name"),
    ({"resourceType": "Patient", "active": {}}, "Patient.active"),
    ({"resourceType": "Patient", "_active": True}, "Patient.active"),
    ({"resourceType": "Patient", "name": [{"text": "a\ufffe"}]}, "Patient.name.text"),
    ({"resourceType": "Patient", "name": [{"text": "a\x01"}]}, "Patient.name.text"),
    ({"resourceType": "Patient", "text": {"div": "<div>a<br>b</div>"}}, "Patient.text.div"),
    ({"resourceType": "Patient", "text": {"div": "<p>a</p>"}}, "Patient.text.div"),
    ({"resourceType": "Patient", "text": {"div": ""}}, "Patient.text.div"),
    ({"resourceType": "Patient", "text": {"div": "<!DOCTYPE a><div/>"}}, "Patient.text.div"),
    ({"resourceType": "Patient", "text": {"div": "<div/><id/>"}}, "Patient.text.div"),
    ({"resourceType": "Patient", "contained": [{"resourceType": "X"}]}, "Patient.contained"),
]


@pytest.mark.parametrize(("resource", "place"), UNWRITABLE)
def test_what_xml_cannot_say_is_told(resource: dict[str, Any], place: str) -> None:
    with pytest.raises(ResourceRejected) as caught:
        to_xml(resource)

    (issue,) = caught.value.issues
    assert (issue.rule, issue.code, issue.place) == ("xml-unwritable", "not-supported", place)


TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\r\n&<>\"'"),
    min_size=1,
    max_size=6,
)
DECIMALS = st.from_regex(r"\A-?(0|[1-9][0-9]{0,20})\.[0-9]{1,9}([eE][+-]?[0-9]{1,2})?\Z")
VALUES = st.one_of(
    st.fixed_dictionaries({"valueString": TEXT}),
    st.fixed_dictionaries({"valueBoolean": st.booleans()}),
    st.fixed_dictionaries({"valueInteger": st.integers(-(2**31), 2**31 - 1)}),
    st.fixed_dictionaries({"valueDecimal": DECIMALS.map(ExactDecimal) | st.integers()}),
    st.fixed_dictionaries({"valueCoding": st.fixed_dictionaries({"display": TEXT})}),
)
EXTENSIONS = st.lists(
    st.builds(
        lambda url, value, inner: {"url": url, **(inner or value)},
        TEXT,
        VALUES,
        st.none() | st.fixed_dictionaries({"extension": st.just([{"url": "u", "valueCode": "c"}])}),
    ),
    min_size=1,
    max_size=2,
)
BESIDE = st.one_of(
    st.fixed_dictionaries({"id": TEXT}),
    st.fixed_dictionaries({"extension": EXTENSIONS}),
    st.fixed_dictionaries({"id": TEXT, "extension": EXTENSIONS}),
)


@st.composite
def primitives(draw: st.DrawFn, name: str, values: st.SearchStrategy[Any]) -> dict[str, Any]:
    """One primitive: a value, something beside it, or both; or nothing at all."""
    found = {name: draw(values)} if draw(st.booleans()) else {}
    return {**found, f"_{name}": draw(BESIDE)} if draw(st.booleans()) else found


@st.composite
def lists_of_primitives(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """A list of primitives with gaps, as JSON writes it: two arrays of one length."""
    pairs = draw(
        st.lists(
            st.tuples(TEXT, st.none() | BESIDE) | st.tuples(st.none(), BESIDE),
            max_size=4,
        )
    )
    values, twins = [value for value, _ in pairs], [twin for _, twin in pairs]
    return {
        **({name: values} if any(v is not None for v in values) else {}),
        **({f"_{name}": twins} if any(t is not None for t in twins) else {}),
    }


@st.composite
def patients(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(lists_of_primitives("given")) | draw(primitives("family", TEXT)) | {"use": "usual"}
    resource = {
        "resourceType": "Patient",
        **draw(primitives("active", st.booleans())),
        **draw(primitives("birthDate", TEXT)),
        **draw(primitives("multipleBirthInteger", st.integers(-99, 99))),
        "name": [name] * draw(st.integers(1, 2)),
    }
    return dict(draw(st.permutations(list(resource.items()))))


@st.composite
def tasks(draw: st.DrawFn) -> dict[str, Any]:
    inputs = draw(st.lists(VALUES, max_size=2))
    return {
        **draw(primitives("description", TEXT)),
        "resourceType": "Task",
        "contained": [draw(patients())],
        "extension": draw(EXTENSIONS),
        **({"input": [{**value, "type": {"text": "t"}} for value in inputs]} if inputs else {}),
    }


@settings(max_examples=150, deadline=None)
@given(patients() | tasks())
def test_any_resource_survives_xml(resource: dict[str, Any]) -> None:
    for written in (to_xml(resource), to_xml(resource, indented=True)):
        assert as_text(parse_xml(written)) == as_text(resource)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_xml_is_read_or_refused_with_an_issue(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(TASK_XML)))
    damage = data.draw(st.binary(max_size=3) | st.sampled_from([b"<", b"/>", b"<div>", b"&x;"]))

    try:
        parse_xml(TASK_XML[:at] + damage + TASK_XML[at + data.draw(st.integers(0, 5)) :])
    except ResourceRejected as error:
        assert [issue.code for issue in error.issues] == ["structure"]
