"""Cells that a spreadsheet would run."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fhir_hub_bridge.connectors.spreadsheet_guard import guarded, table_bytes, unguarded


@pytest.mark.parametrize("cell", ["=1+1", "+1 916", "-12 Main", "@x", "\tx", "\rx", "\nx"])
def test_a_cell_that_would_run_is_text(cell: str) -> None:
    assert guarded(cell) == f"'{cell}"


@given(st.text(alphabet="'=+-@\t\r\nax ", max_size=6))
@example("'+1")
def test_what_comes_back_is_what_was_sent(cell: str) -> None:
    assert unguarded(guarded(cell)) == cell


def test_a_table_is_guarded_in_every_cell() -> None:
    assert table_bytes(("a", "b"), [("=1", "two, three")]) == b'a,b\r\n\'=1,"two, three"\r\n'
