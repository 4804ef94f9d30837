"""Fault points are named in production code, each once, and armed only by tests."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import fhir_hub_bridge
from fhir_hub_bridge.faults import POINTS

PACKAGE = Path(fhir_hub_bridge.__file__).parent
MODULES = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "faults.py"]


def test_production_code_takes_nothing_but_the_points_from_faults() -> None:
    taken = Counter(
        alias.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "fhir_hub_bridge.faults"
        for alias in node.names
    )

    assert set(taken) == {"fault"}


def test_production_code_does_not_import_faults_as_a_whole() -> None:
    names = {
        f"{getattr(node, 'module', '') or ''}.{alias.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }

    assert not names & {".fhir_hub_bridge.faults", "fhir_hub_bridge.faults"}


def test_every_point_is_passed_at_one_place() -> None:
    passed = Counter(
        argument.value
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "fault"
        for argument in node.args
        if isinstance(argument, ast.Constant)
    )

    assert passed == Counter(dict.fromkeys(POINTS, 1))


def test_nothing_outside_the_process_reaches_arming() -> None:
    source = (PACKAGE / "faults.py").read_text()

    imported = {
        alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }

    assert imported <= {"annotations", "Callable", "Final"}
