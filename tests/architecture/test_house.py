"""Promises of the house that a reviewer should not have to keep: purity, one write path, names."""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterator
from pathlib import Path

import fhir_hub_bridge

SOURCE = Path(fhir_hub_bridge.__file__).parent
ROOT = Path(__file__).parents[2]
LOADERS = {
    "mapping/data_files.py",
    "mapping/catalog.py",
    "fhir/definitions.py",
}  # handed a folder once, at start
IMPURE = {
    "now": "a clock",
    "utcnow": "a clock",
    "today": "a clock",
    "perf_counter": "a clock",
    "monotonic": "a clock",
    "token_bytes": "randomness",
    "token_hex": "randomness",
    "uuid4": "randomness",
    "getenv": "the environment",
    "environ": "the environment",
    "open": "a file",
    "read_text": "a file",
    "read_bytes": "a file",
    "print": "the terminal",
}
# words of the rules: `Reading.today` and `Sheet.now` are values handed in
OWN = {("today", "reading"), ("now", "sheet"), ("now", "by"), ("today", "row")}


def modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        place = SOURCE / folder
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            name = path.relative_to(SOURCE).as_posix()
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def test_pure_modules_read_no_clock_no_file_no_environment_and_no_randomness() -> None:
    found = [
        (name, getattr(node, "lineno", 0), IMPURE[word])
        for name, tree in modules("referral", "fhir", "mapping", "delivery/decision.py")
        if name not in LOADERS
        for node in ast.walk(tree)
        for word, of in [_called(node)]
        if word in IMPURE and (word, of) not in OWN
    ]

    assert found == []


def _called(node: ast.AST) -> tuple[str, str]:
    """The name of what is called, and of what it is called on."""
    if not isinstance(node, ast.Call):
        return "", ""
    if isinstance(node.func, ast.Name):
        return node.func.id, ""
    if isinstance(node.func, ast.Attribute):
        of = node.func.value
        return node.func.attr, of.id if isinstance(of, ast.Name) else ""
    return "", ""


def test_a_referral_s_row_is_written_by_one_function_which_writes_its_events_too() -> None:
    writers = [
        (name, function.name)
        for name, tree in modules("store", "intake", "delivery", "api", "web", "cli")
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and _writes(node, "referral")
    ]
    event_writers = [
        (name, function.name)
        for name, tree in modules("store", "intake")
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and _writes(node, "referral_event")
    ]

    assert writers == [("store/referrals.py", "rows_of")]
    assert event_writers == writers


def _writes(node: ast.Call, table: str) -> bool:
    word, _ = _called(node)
    first = node.args[0] if node.args else None
    return (
        word in ("Batch", "insert", "update", "delete")
        and isinstance(first, ast.Name)
        and first.id == table
    )


def test_every_change_of_a_referral_goes_through_record_referral() -> None:
    callers = {
        name
        for name, tree in modules(".")
        if not name.startswith("sandbox/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _called(node)[0] == "rows_of"
    }
    movers = {
        name
        for name, tree in modules("intake", "delivery", "api", "web", "cli", "demo", "store")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module == "fhir_hub_bridge.referral.lifecycle"
        and {"apply", "receive"} & {alias.name for alias in node.names}
    }

    assert callers == {"intake/record_referral.py"}
    assert movers == {"intake/record_referral.py"}


def test_no_module_is_named_after_no_concept() -> None:
    attics = {"utils", "helpers", "common", "base", "core", "types", "misc", "manager", "service"}

    names = {path.stem for path in SOURCE.rglob("*.py")} | {p.name for p in SOURCE.iterdir()}

    assert names & attics == set()


def test_no_class_is_a_manager_service_or_handler() -> None:
    vague = re.compile(r"(Manager|Service|Handler|Processor|Helper|Factory|Impl)$")

    found = [
        (name, node.name)
        for name, tree in modules(".")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and vague.search(node.name) and node.name != "Service"
    ]  # `rulebook.Service` is what a member is referred to

    assert found == []


def test_every_requirement_has_a_test_and_every_test_a_requirement_that_exists() -> None:
    with (ROOT / "tests" / "requirements.csv").open(newline="") as file:
        listed = [row["id"] for row in csv.DictReader(file)]
    texts = [path.read_text() for path in (ROOT / "tests" / "spec").glob("test_*.py")]
    proven = {id_ for text in texts for id_ in re.findall(r'requirement\("([\w-]+)"\)', text)}

    assert len(set(listed)) == len(listed)
    assert set(listed) == proven


def test_every_requirement_of_sdohcc_has_a_test_or_an_answer() -> None:
    with (ROOT / "tests" / "sdohcc-requirements.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [p.read_text() for p in (ROOT / "tests").rglob("test_*.py") if p.parent.name != "spec"]
    proven = {id_ for text in texts for id_ in re.findall(r'requirement\("([\w-]+)"\)', text)}

    assert len({row["id"] for row in rows}) == len(rows)
    assert proven == {row["id"] for row in rows if not row["answer"]}
