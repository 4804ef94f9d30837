"""The docs say what is so: generated parts, settings, commands, links, tests, the tutorial."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs import generate

from fhir_hub_bridge.settings import Settings

ROOT = generate.ROOT
PAGES = [*generate.pages(), ROOT / "CHANGELOG.md", *sorted((ROOT / "docker").glob("*.md"))]
TUTORIAL = ROOT / "docs" / "tutorial" / "first-loop.md"
FENCED = re.compile(r"^```(\w+) ?(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?")
NAMED_PAGE = re.compile(r"docs/[\w/-]+(?:\.md)?")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", generate.pages(), ids=name_of)
def test_generated_parts_are_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert generate.rendered(text) == text, "run: python docs/generate.py"


def test_every_part_that_can_be_generated_is_on_a_page() -> None:
    written = "".join(page.read_text(encoding="utf-8") for page in generate.pages())

    assert [part for part in generate.PARTS if f"<!-- generated: {part} -->" not in written] == []


def test_every_setting_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert [name for name in Settings.model_fields if f"| `{name}` |" not in readme] == []


def test_every_command_is_on_its_page() -> None:
    page = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    commands = generate.command_names()

    assert "demo" in commands
    assert [name for name in commands if f"### `{name}`" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    dead: list[str] = []
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            dead.append(link)

    assert dead == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.is_dir():
                waiting += target.glob("*.md")
            elif target.suffix == ".md" and target.exists():
                waiting.append(target)

    assert [name_of(page) for page in generate.pages() if page not in seen] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_tests_that_a_page_names_exist(page: Path) -> None:
    missing: list[str] = []
    for path, test in NAMED_TEST.findall(page.read_text(encoding="utf-8")):
        file = ROOT / path
        found = file.exists() and f"def {test}(" in file.read_text(encoding="utf-8")
        if not (found or (file.exists() and not test)):
            missing.append(f"{path}::{test}")

    assert missing == []


def test_every_requirement_is_proven_by_a_test() -> None:
    assert "**none**" not in generate.requirements()


def test_pages_that_the_code_names_exist() -> None:
    named = {
        (name_of(module), page)
        for module in sorted((ROOT / "src").rglob("*.py"))
        for page in NAMED_PAGE.findall(module.read_text(encoding="utf-8"))
        if "://" not in page and not module.read_text(encoding="utf-8").count(f"org/{page}")
    }

    assert [n for n in sorted(named) if not list(ROOT.glob(f"{n[1].removesuffix('.md')}*"))] == []


def test_the_changelog_has_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_tutorial_and_the_readme_work_as_written(tmp_path: Path) -> None:
    (_, _, library) = next(blocks_of(ROOT / "README.md", "python"))
    (tmp_path / "library.py").write_text(library, encoding="utf-8")

    printed = worked(tutorial_script(TUTORIAL, tmp_path) + f"\npython {tmp_path}/library.py")

    assert "1 rows read, 1 recorded" in printed
    assert "1 rows read, 0 recorded, 1 unchanged" in printed
    assert told(tmp_path) == [
        ("R-1", "authorization-decided"),
        ("R-1", "provider-assigned"),
        ("R-1", "loop-closed"),
        ("R-2", "authorization-decided"),
        ("R-2", "loop-closed"),
    ]
    assert printed.rstrip().endswith("Example Health Plan 1"), "the README's Python example"


@pytest.mark.requirement("refer-3")
def test_the_walk_with_curl_works_as_written(tmp_path: Path) -> None:
    printed = worked(tutorial_script(TUTORIAL.with_name("fhir-walk.md"), tmp_path))

    assert "task-transition" in printed, "the step that is refused"
    assert '"status":"completed"' in printed
    assert told(tmp_path) == [
        ("R-1", "authorization-decided"),
        ("R-1", "provider-assigned"),
        ("R-1", "status-changed"),
        ("R-1", "status-changed"),
        ("R-1", "loop-closed"),
    ]


def worked(script: str) -> str:
    """What a script printed that ran to its end without an error."""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("FHIR_HUB_BRIDGE_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def told(folder: Path) -> list[tuple[str, str]]:
    """Of which referral the pretend EHR was told what, in order."""
    lines = (folder / "ehr.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines if '"received"' in line]
    return [(line["referral"], line["type"]) for line in entries if line["kind"] == "received"]


def tutorial_script(page: Path, folder: Path) -> str:
    """The shell blocks of a tutorial in one script, its servers in the background."""
    shutil.copytree(page.parent, folder / "tutorial")
    bridge, ehr = free_ports()
    lines = ["set -e", "trap 'kill $(jobs -p); wait' EXIT"]
    for place, (_, kind, block) in enumerate(blocks_of(page, "sh")):
        match kind:
            case "setup":
                continue
            case "server":
                server = block.strip().replace("serve --open", f"serve --open --port {bridge}")
                server = server.replace("--port 8490", f"--port {ehr} --journal {folder}/ehr.jsonl")
                port = bridge if "serve" in server else ehr
                lines += [f"{server} >{folder}/{place}.log 2>&1 &", waiting_for(port)]
            case "refused":
                lines.append(f"if {block.strip()}; then exit 1; fi")
            case _:
                lines.append(block)
    script = "\n".join(lines).replace("first-loop-data", str(folder / "data"))
    for file in (folder / "tutorial").rglob("*.*"):
        text = file.read_text(encoding="utf-8").replace("8490", str(ehr))
        file.write_text(text, encoding="utf-8")
    script = script.replace("docs/tutorial/", f"{folder}/tutorial/")
    return script.replace(":8480", f":{bridge}").replace(":8490", f":{ehr}")


def blocks_of(page: Path, language: str) -> Iterator[tuple[str, str, str]]:
    found = FENCED.findall(page.read_text(encoding="utf-8"))
    return (block for block in found if block[0] == language)


def free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], other.getsockname()[1]]


def waiting_for(port: int) -> str:
    knock = f"(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null"
    return f"for i in $(seq 100); do {knock} && break; sleep 0.1; done"


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
