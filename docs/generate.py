"""Writes the generated parts of the docs from the code and data they tell of.

`python docs/generate.py` rewrites, `--check` only says what is stale (exit 1). A part stands
between `<!-- generated: name -->` and `<!-- end -->`. A test keeps every part current.
"""

from __future__ import annotations

import ast
import csv
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from fhir_hub_bridge.api.registry import RESOURCES, SYSTEM
from fhir_hub_bridge.fhir import outcome, task_states
from fhir_hub_bridge.mapping.catalog import load_catalog
from fhir_hub_bridge.mapping.status_to_task import CLOSING, TASK_STATUS
from fhir_hub_bridge.referral import lifecycle
from fhir_hub_bridge.referral.model import ReferralStatus
from fhir_hub_bridge.referral.rulebook import Citation, Service
from fhir_hub_bridge.settings import Settings

ROOT = Path(__file__).parents[1]
MAPPINGS = ROOT / "mappings"
SDOHCC_REQUIREMENTS = ROOT / "tests" / "sdohcc-requirements.csv"

_PART = re.compile(
    r"(?P<open><!-- generated: (?P<name>[a-z-]+) -->\n).*?(?P<close><!-- end -->)", re.DOTALL
)


def pages() -> list[Path]:
    """Every page that may have generated parts."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def rendered(text: str) -> str:
    """The page with its generated parts as they should be. Raises KeyError for an unknown part."""
    return _PART.sub(lambda m: f"{m['open']}{PARTS[m['name']]()}\n{m['close']}", text)


def settings() -> str:
    """Every setting: its environment variable, default and meaning."""
    prefix = Settings.model_config["env_prefix"]
    rows = [
        (
            f"`{name}`",
            f"`{prefix}{name.upper()}`",
            _default(name, field.get_default(call_default_factory=True)),
            field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]
    return _table(("setting", "environment variable", "default", "meaning"), rows)


def layers() -> str:
    """The import contracts that `make check` holds the house to."""
    contracts = tomllib.loads(_read(ROOT / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    from_above = [layer for contract in contracts for layer in contract.get("layers", [])]
    drawn = "\n".join(from_above).replace("fhir_hub_bridge.", "")
    others = "\n".join(f"- {c['name']}." for c in contracts if c["type"] != "layers")
    return f"```text\n{drawn}\n```\n\n{others}"


def notice_rules() -> str:
    """By when each notice is due, and where that is from."""
    rows = [
        (
            rule.notice,
            f"{rule.within} {rule.unit.replace('-', ' ')}",
            rule.clock_starts.replace("_", " "),
            rule.valid_from.isoformat(),
            *_cited(rule.citation),
        )
        for rule in _rulebook().notice_rules
    ]
    heads = ("notice", "due within", "counted from", "valid from", "confidence", "source")
    return _table(heads, rows)


def suppressions() -> str:
    """By which rules no notice is owed, or one is withheld."""
    rows = [
        (f"`{rule.id}`", rule.sentence, *_cited(rule.citation))
        for rule in _rulebook().suppressions.values()
    ]
    return _table(("rule", "says", "confidence", "source"), rows)


def calendar() -> str:
    """When an office is open."""
    calendar = _toml("programs/calaim.toml")["calendar"]
    found = _rulebook().calendar
    day = f"{found.opens:%H:%M} to {found.closes:%H:%M}, {found.zone}"
    removed = [
        (entry.get("name") or str(entry["date"]), entry["confidence"], entry["source"])
        for entry in calendar["removed"]
    ]
    said = (
        f"Open {day}; holidays from `mappings/calendars/{calendar['holidays']}.csv`, "
        f"{found.covers_from} to {found.covers_to}. {calendar['source']} "
        f"(*{calendar['confidence']}*)\n\nIn that table, but no holiday for state offices:\n\n"
    )
    return said + _table(("day", "confidence", "source"), removed)


def authorization_statuses() -> str:
    """What a plan's decision can be."""
    rows = [
        (
            f"`{row.code}`",
            row.label,
            _yes(row.decided),
            _yes(row.authorizes),
            _yes(row.reason_required),
            f"`{row.closes_with}`" if row.closes_with else "",
            *_cited(row.citation),
        )
        for row in _rulebook().authorization_statuses.values()
    ]
    heads = ("code", "label", "told", "authorizes", "needs a reason", "closes with")
    return _table((*heads, "confidence", "source"), rows)


def authorization_bases() -> str:
    """On what a service may start."""
    rows = [
        (
            f"`{row['code']}`",
            row["label"],
            row["starts_before_decision"],
            row["confidence"],
            row["source"],
        )
        for row in _csv("codes/authorization-basis.csv")
    ]
    return _table(("code", "label", "starts before a decision", "confidence", "source"), rows)


def closure_reasons() -> str:
    """Why a loop can be closed."""
    rows = [
        (
            f"`{row.code}`",
            row.label,
            _yes(row.served),
            _yes(row.provider_closes_loop),
            _yes(row.text_required),
            f"`{row.task_status}`",
            *_cited(row.citation),
        )
        for row in _rulebook().closure_reasons.values()
    ]
    heads = ("code", "label", "served", "provider may close", "needs a text", "Task.status")
    return _table((*heads, "confidence", "source"), rows)


def services() -> str:
    """What one can be referred to, and since when the duties apply."""
    rows = [
        (
            f"`{row.code}`",
            row.label,
            _duties(row),
            ", ".join(" ".join((code.hcpcs, *code.modifiers)) for code in row.billing_codes[:4])
            + (" ..." if len(row.billing_codes) > 4 else ""),
            *_cited(row.citation),
        )
        for row in _rulebook().services.values()
    ]
    heads = ("code", "label", "closed-loop duties", "billed as", "confidence", "source")
    return _table(heads, rows)


def populations() -> str:
    """ECM's populations of focus."""
    rows = [
        (f"`{row['code']}`", row["number"], row["label"], row["confidence"], row["source"])
        for row in _csv("codes/populations-of-focus.csv")
    ]
    return _table(("code", "number", "label", "confidence", "source"), rows)


def referral_states() -> str:
    """The diagram of referral statuses, from the table of transitions."""
    return _mermaid(lifecycle.mermaid())


def task_diagram() -> str:
    """The diagram of Task states, from the table of transitions."""
    return _mermaid(task_states.mermaid())


def status_to_task() -> str:
    """From the current Task.status and the new referral status to the Task.status that says it."""
    currents = list(dict.fromkeys(current for current, _ in TASK_STATUS))
    rows = [
        (
            f"`{current}`",
            *(
                "*the reason's*"
                if TASK_STATUS[current, status] == CLOSING
                else f"`{TASK_STATUS[current, status]}`"
                for status in ReferralStatus
            ),
        )
        for current in currents
    ]
    return _table(("Task.status now", *(f"new: {status}" for status in ReferralStatus)), rows)


def interactions() -> str:
    """Which FHIR interactions are served, from the table the routes are made of."""
    rows = [
        (
            f"`{served.type}`",
            ", ".join(dict.fromkeys(interaction.code for interaction in served.interactions)),
            ", ".join(f"`{parameter.name}`" for parameter in served.search_parameters),
        )
        for served in RESOURCES
    ]
    system = ", ".join(interaction.code for interaction in SYSTEM)
    return _table(
        ("resource", "interactions", "search parameters"),
        [*rows, ("the base `/fhir`", f"capabilities, {system}", "")],
    )


def answers() -> str:
    """How each kind of error is answered."""
    rows = [
        (str(status), f"`{code}`", kind.__name__, (kind.__doc__ or "").strip())
        for kind, (status, code) in sorted(
            outcome.ANSWERS.items(), key=lambda entry: (entry[1][0], entry[0].__name__)
        )
    ]
    return _table(("HTTP status", "issue code", "error", "means"), rows)


def commands() -> str:
    """Every command with its arguments and options, as `--help` knows them."""
    import typer

    from fhir_hub_bridge.cli.app import app

    root: Any = typer.main.get_command(app)
    return "\n\n".join(_command(name, command) for name, command in _walk("", root))


def requirements() -> str:
    """The program's requirements and the tests that carry their ids."""
    proven: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests" / "spec").glob("test_*.py")):
        for node in ast.walk(ast.parse(_read(path))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for id_ in _requirements_of(node):
                    proven.setdefault(id_, []).append(
                        f"[{node.name.removeprefix('test_').replace('_', ' ')}]"
                        f"(../../tests/spec/{path.name})"
                    )
    with (ROOT / "tests" / "requirements.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            (row["id"], row["sentence"], "; ".join(proven.get(row["id"], ["**none**"])))
            for row in csv.DictReader(file)
        ]
    return _table(("id", "the program asks", "proven by"), rows)


def sdohcc_requirements() -> str:
    """SDOHCC's numbered requirements of a coordination platform, and the tests that carry them."""
    proven: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(_read(path))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for id_ in _requirements_of(node):
                    said = node.name.removeprefix("test_").replace("_", " ")
                    where = path.relative_to(ROOT).as_posix()
                    proven.setdefault(id_, []).append(f"[{said}](../../{where})")
    with SDOHCC_REQUIREMENTS.open(encoding="utf-8", newline="") as file:
        rows = [
            (row["id"], row["asks"], row["sentence"], _answered(row, proven.get(row["id"], [])))
            for row in csv.DictReader(file)
        ]
    return _table(("id", "asks", "what", "proven by"), rows)


def _answered(row: dict[str, str], tests: list[str]) -> str:
    return "; ".join(tests) or row["answer"] or "**none**"


def what_the_ehr_receives() -> str:
    """One frozen message of each kind, from the golden stories of the tests."""
    shown: dict[str, str] = {}
    for path in sorted((ROOT / "tests" / "examples" / "loops").glob("*/expected.json")):
        for message in json.loads(_read(path))["messages"]:
            communication = message["entry"][0]["resource"]
            kind = communication["category"][0]["coding"][0]["code"]
            shown.setdefault(
                kind,
                f"### {communication['payload'][0]['contentString']}\n\n"
                f"`{kind}`, story *{path.parent.name.replace('-', ' ')}*\n\n"
                f"```json\n{json.dumps(message, indent=2, ensure_ascii=False)}\n```",
            )
    return "\n\n".join(shown[kind] for kind in sorted(shown))


PARTS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "layers": layers,
    "notice-rules": notice_rules,
    "suppressions": suppressions,
    "calendar": calendar,
    "authorization-statuses": authorization_statuses,
    "authorization-bases": authorization_bases,
    "closure-reasons": closure_reasons,
    "services": services,
    "populations": populations,
    "referral-states": referral_states,
    "task-states": task_diagram,
    "status-to-task": status_to_task,
    "interactions": interactions,
    "answers": answers,
    "commands": commands,
    "requirements": requirements,
    "sdohcc-requirements": sdohcc_requirements,
    "what-the-ehr-receives": what_the_ehr_receives,
}
"""What can be generated, by the name in its marker."""


def command_names() -> list[str]:
    """Every command, as it is typed after the program's name."""
    import typer

    from fhir_hub_bridge.cli.app import app

    return [name for name, _ in _walk("", typer.main.get_command(app))]


def main(arguments: Sequence[str]) -> int:
    """Rewrite stale pages, or with --check name them."""
    stale = [page for page in pages() if rendered(text := _read(page)) != text]
    for page in stale:
        if "--check" in arguments:
            sys.stderr.write(f"stale: {page.relative_to(ROOT)}\n")
        else:
            page.write_text(rendered(_read(page)), encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


def _requirements_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [
        str(argument.value)
        for call in function.decorator_list
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.requirement"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    ]


def _rulebook() -> Any:
    return load_catalog(MAPPINGS).rulebook


def _toml(name: str) -> dict[str, Any]:
    return tomllib.loads(_read(MAPPINGS / name))


def _csv(name: str) -> list[dict[str, str]]:
    lines = [line for line in _read(MAPPINGS / name).splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _default(name: str, value: object) -> str:
    if name in ("mappings", "data_folder"):
        # Where it lies differs from machine to machine.
        return "as shipped" if name == "mappings" else "`~/.local/share/fhir-hub-bridge`"
    if isinstance(value, tuple):
        return f"`[{', '.join(f'{part:g}' for part in value)}]`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`" if value != "" else "empty"


def _cited(citation: Citation) -> tuple[str, str]:
    return citation.confidence, citation.source


def _duties(service: Service) -> str:
    if service.clr_from is None:
        return "none"
    return f"from {service.clr_from}" + (f" to {service.clr_to}" if service.clr_to else "")


def _yes(value: bool) -> str:
    return "yes" if value else ""


def _mermaid(diagram: str) -> str:
    return f"```mermaid\n{diagram.rstrip()}\n```"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        f"| {' | '.join(str(cell).replace('|', '&#124;') for cell in line)} |" for line in lines
    )


def _walk(path: str, command: Any) -> Iterable[tuple[str, Any]]:
    below = getattr(command, "commands", None)
    if not below:
        yield path, command
        return
    for name, child in below.items():
        if not child.hidden:
            yield from _walk(f"{path} {name}".strip(), child)


def _command(name: str, command: Any) -> str:
    shown = [p for p in command.params if not p.hidden]
    arguments = [p for p in shown if p.param_type_name == "argument"]
    options = [p for p in shown if p.param_type_name == "option"]
    usage = " ".join(
        [
            "fhir-hub-bridge",
            name,
            *(p.metavar or p.name.upper() for p in arguments),
            *(_option(p) for p in options if p.required),
        ]
    )
    rows = [
        (f"`{_option(p)}`", re.sub(r"\s+", " ", p.help or ""))
        for p in options
        if p.name not in ("database", "as_json")
    ]
    said = re.sub(r"(?<!\n)\n(?!\n)", " ", (command.help or "").strip())
    example = (command.epilog or "").removeprefix("Example: ")
    parts = [f"### `{name}`", f"`{usage}`", said]
    if rows:
        parts.append(_table(("option", "meaning"), rows))
    if example:
        parts.append(f"Example: `{example}`")
    return "\n\n".join(parts)


def _option(option: Any) -> str:
    name = str(option.opts[0])
    if option.is_flag:
        return name
    return f"{name} {option.metavar or option.name.upper()}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
