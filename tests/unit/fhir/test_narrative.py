"""Narratives that act are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhir_hub_bridge.fhir import narrative
from fhir_hub_bridge.fhir.narrative import has_content, is_safe
from fhir_hub_bridge.fhir.validation import issues_of


@pytest.mark.parametrize(
    "div",
    [
        '<div xmlns="http://www.w3.org/1999/xhtml"><p style="color:red">once = 1, on x=2</p></div>',
        "<div><a href='https://x.example/?onclick=1' title='only = it'>x</a></div>",
        "<div><br/><!-- a < b --></div>",
        "<div><img src='data:image/png;base64,aGk=' alt='x'/> a &lt;script&gt; </div>",
        "<div></div>",
    ],
)
def test_plain_narrative_is_safe(div: str) -> None:
    assert is_safe(div)


@pytest.mark.parametrize(
    "div",
    [
        "<div><script>x()</script></div>",
        "<div><SCRIPT src='x'/></div>",
        "<div><x:script/></div>",
        "<div><iframe src='x'></iframe></div>",
        "<div><form><input/></form></div>",
        "<div><p onclick='x()'>x</p></div>",
        "<div><p title='>' ONLOAD = 'x()'>x</p></div>",
        "<div><p onclick=x()>x</p></div>",
        "<div><p/onclick='x'></p></div>",
        "<div><a href='javascript:x()'>x</a></div>",
        "<div><a href=' java&#115;cript:x()'>x</a></div>",
        "<div><a href='java&#10;script:x()'>x</a></div>",
        "<div><a href='data:text/html,x'>x</a></div>",
        "<div><svg/></div>",
        "<!DOCTYPE x><div/>",
        "<?php x ?><div/>",
        "<div><p title='a</div>",
        "<div><!-- x</div>",
        "<div>a < b</div>",
        "<div><![CDATA[<script>]]></div>",
    ],
)
def test_narrative_that_acts_or_is_no_xhtml_is_not_safe(div: str) -> None:
    assert not is_safe(div)


@pytest.mark.parametrize("piece", ["<a ", "<!--", "<a '", "<a \"'", "<", "<p>"])
def test_long_nonsense_is_judged_at_once(piece: str) -> None:
    assert is_safe(piece * 200_000) is (piece == "<p>")  # safe, if not well-formed


@given(st.text("<>/=\"' abonscript:!-", max_size=60))
def test_any_text_is_judged(div: str) -> None:
    assert is_safe(div) in (True, False)


PIECES = st.sampled_from(
    [
        *("<p>", "</p>", "<br/>", "<img", "<a", "<svg>", "<script>", "<x:p>", "<!--", "-->", "<td"),
        *(' class="', ' href="', ' style="', ' src="', ' onclick="', " title='", '"', "'", "/>"),
        *("javascript:", "data:text/html,", "data:image/png;base64,aGk=", "vbscript:", "x.png"),
        *(
            "display: none",
            "https://x.example",
            "a",
            " ",
            ">",
            "<",
            "&#106;",
            "&lt;",
            ":",
            "\n",
            "j",
        ),
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_quick_look_lets_nothing_pass_that_the_long_one_would_not(div: str) -> None:
    if narrative._plain().is_valid(div):
        assert narrative._is_safe(div)


@pytest.mark.parametrize(
    ("div", "is_there"),
    [
        ("<div>x</div>", True),
        ("<div><p> </p><b>x</b></div>", True),
        ("<div><img src='x.png' alt=''/></div>", True),
        ("<div>&#160;</div>", True),
        ("<div/>", False),
        ("<div> <p>\n</p> </div>", False),
        ("<div><!-- x --></div>", False),
    ],
)
def test_narrative_has_content_if_there_is_something_to_read(div: str, is_there: bool) -> None:
    assert has_content(div) is is_there


@pytest.mark.parametrize(
    "div",
    ["<div>a<br>b</div>", "<div>a</p></div>", "hello", "<p>a</p>", "<div>a</div><div>b</div>"],
)
def test_narrative_that_is_no_well_formed_div_is_refused(div: str) -> None:
    patient = {"resourceType": "Patient", "text": {"status": "generated", "div": div}}

    assert [(issue.place, issue.rule) for issue in issues_of(patient)] == [
        ("Patient.text.div", "txt-1")
    ]
