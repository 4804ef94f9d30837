"""Every command says what it does, with an example; help is quick because imports are late."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fhir_hub_bridge.cli.app import run

COMMANDS = (
    ("demo",),
    ("serve",),
    ("work",),
    ("import",),
    ("referral", "decide"),
    ("referral", "assign"),
    ("referral", "show"),
    ("partner", "add"),
    ("partner", "list"),
    ("report", "open-loops"),
    ("mapping", "check"),
    ("validate",),
    ("packages", "add"),
    ("packages", "list"),
    ("db", "upgrade"),
    ("db", "check"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_and_the_shared_options(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code = run([*command, "--help"])

    said = capsys.readouterr().out
    assert code == 0
    assert f"Example: fhir-hub-bridge {' '.join(command)}" in said
    assert "--database" in said
    assert "--json" in said


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--help"])

    said = capsys.readouterr().out
    assert all(f"\n  {command[0]} " in said for command in (*COMMANDS, ("sandbox",)))


def test_a_sandbox_partner_tells_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["sandbox", "plan", "--help"])

    assert code == 0
    assert "--bridge" in capsys.readouterr().out


def test_help_loads_neither_database_nor_server_nor_rules() -> None:
    heavy = ("sqlalchemy", "fastapi", "uvicorn", "httpx", "structlog")
    program = (
        "import sys; from fhir_hub_bridge.cli.app import run; run(['serve', '--help']);"
        f"sys.exit(str([m for m in {heavy} if m in sys.modules]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    "wrong", [["--nothing"], ["import"], ["report", "nothing"], ["work", "--only", "clock"]]
)
def test_wrong_use_ends_with_2(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(wrong) == 2
    assert "Traceback" not in capsys.readouterr().err
