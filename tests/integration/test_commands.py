"""The commands on a real database: what they print, how they exit, what they leave alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.postgres_server import PostgresServer
from tests.profile_builders import a_profile, an_archive
from tests.running import PARTNERS

from fhir_hub_bridge.cli.app import run
from fhir_hub_bridge.sandbox.rtf_files import rtf_bytes
from fhir_hub_bridge.sandbox.synthetic import stray_rows
from fhir_hub_bridge.store.schema import head

AS_OF = "2026-11-20T12:00-08:00"

Call = Callable[..., "Answer"]


class Answer:
    """What a command said."""

    def __init__(self, exit_code: int, out: str, err: str) -> None:
        self.exit_code = exit_code
        self.out = out
        self.err = err

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@pytest.fixture
def call(
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Call:
    """Run a command on a fresh database; partners are registered."""
    monkeypatch.setenv("FHIR_HUB_BRIDGE_DATA_FOLDER", str(tmp_path / "data"))
    monkeypatch.setenv("FHIR_HUB_BRIDGE_OPERATOR", "golden-plan")
    run(["db", "upgrade", "--database", database_url])

    def _call(*arguments: str) -> Answer:
        capsys.readouterr()
        code = run([*arguments, "--database", database_url])
        return Answer(code, *capsys.readouterr())

    file = tmp_path / "partners.toml"
    file.write_text(PARTNERS.format(endpoint="http://127.0.0.1:1/fhir"))
    assert _call("partner", "add", str(file)).exit_code == 0
    return _call


@pytest.fixture
def a_file(tmp_path: Path) -> Path:
    """Four members nobody referred: one kept, one for review, two rejected."""
    rows = [row for _, row in stray_rows(today=date(2026, 11, 20))]
    path = tmp_path / "strays.csv"
    path.write_bytes(rtf_bytes("ecm", rows))
    return path


def opened(call: Call, a_file: Path) -> str:
    """A referral opened from the file's second row; its id."""
    call("import", str(a_file), "--source", "rtf-ecm", "--unmatched", "open", "--as-of", AS_OF)
    loops = call("report", "open-loops", "--json").json["loops"]
    return next(str(loop["id"]) for loop in loops if loop["status"] == "accepted")


def test_an_import_accounts_for_every_row_and_exits_1_when_a_person_must_look(
    call: Call, a_file: Path
) -> None:
    done = call("import", str(a_file), "--source", "rtf-ecm", "--as-of", AS_OF, "--json")

    totals = done.json
    assert done.exit_code == 1
    assert [
        totals[f"rows_{w}"] for w in ("read", "recorded", "unchanged", "review", "rejected")
    ] == [4, 1, 0, 1, 2]
    assert totals["decided"] == {"encoding": "utf-8", "delimiter": ",", "layout": "rtf-ecm"}
    assert totals["notices_owed"] == 0
    assert Path(totals["rejects_path"]).stat().st_mode & 0o777 == 0o600
    assert Path(totals["summary_path"]).stat().st_mode & 0o777 == 0o600
    assert done.err == ""


def test_an_import_told_to_people_names_the_counts_and_the_files(call: Call, a_file: Path) -> None:
    done = call("import", str(a_file), "--source", "rtf-ecm", "--as-of", AS_OF)

    assert "4 rows read, 1 recorded, 0 unchanged, 1 for review, 2 rejected" in done.out
    assert "-rejects.csv" in done.out


def test_a_file_of_another_kind_is_refused_whole(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_bytes(rtf_bytes("ecm", [], warts=["wrong-header"]))

    done = call("import", str(path), "--source", "rtf-ecm", "--json")

    assert done.exit_code == 1
    assert "does not fit" in done.err
    assert done.json["issues"]
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "wrong",
    [
        ["--source", "nothing-like-this"],
        ["--source", "rtf-ecm", "--from", "nobody"],
        ["--source", "rtf-ecm", "--as-of", "yesterday"],
        ["--source", "rtf-ecm", "--as-of", "2026-11-20T12:00"],
    ],
)
def test_a_wrong_option_is_a_sentence(call: Call, a_file: Path, wrong: list[str]) -> None:
    done = call("import", str(a_file), *wrong)

    assert done.exit_code in (1, 2)
    assert len(done.err.splitlines()) == 1


def test_another_time_is_refused_in_production(
    call: Call, a_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FHIR_HUB_BRIDGE_PRODUCTION", "true")

    done = call("import", str(a_file), "--source", "rtf-ecm", "--as-of", AS_OF)

    assert done.exit_code == 2
    assert "refused in production" in done.err


def test_the_plan_decides_assigns_and_sees_the_story(call: Call, a_file: Path) -> None:
    referral = opened(call, a_file)

    decided = call(
        "referral", "decide", referral, "--status", "approved", "--number", "A-1",
        "--on", "2026-11-20", "--json",
    )  # fmt: skip
    again = call(
        "referral", "assign", referral, "--to", "harbor-ecm", "--on", "2026-11-20", "--json"
    )
    shown = call("referral", "show", referral, "--json")
    told = call("referral", "show", referral)

    assert decided.json == {
        "referral": referral, "outcome": "recorded", "rule": "", "notices_owed": 0,
    }  # fmt: skip
    assert again.json["outcome"] in ("recorded", "unchanged")
    story = shown.json
    assert story["authorization"] == "approved"
    assert [e["channel"] for e in story["events"] if e["said"] == "approved"] == ["command"]
    assert "The plan’s decision: yes" in told.out


def test_a_referral_is_found_by_its_task_too(call: Call, a_file: Path) -> None:
    referral = opened(call, a_file)
    version = call("referral", "show", referral, "--json").json["tasks"][0]["version"]
    task = version.partition("/_history")[0]

    shown = call("referral", "show", task, "--json")

    assert shown.json["id"] == referral
    assert call("referral", "show", "Task/no-such").exit_code == 1


def test_a_rule_that_forbids_it_is_a_sentence(call: Call, a_file: Path) -> None:
    referral = opened(call, a_file)

    done = call("referral", "decide", referral, "--status", "denied", "--on", "2026-11-20")
    wrong_party = call("referral", "decide", referral, "--status", "approved", "--by", "harbor-ecm")
    no_day = call("referral", "decide", referral, "--status", "approved", "--on", "today")
    unknown = call("referral", "show", "no-such-referral")

    assert (done.exit_code, wrong_party.exit_code, no_day.exit_code) == (1, 1, 2)
    assert "may not decide" in wrong_party.err
    assert unknown.exit_code == 1
    for answer in (done, wrong_party, no_day, unknown):
        assert answer.err
        assert "Traceback" not in answer.err


def test_partners_are_listed_with_how_they_are_told(call: Call) -> None:
    listed = call("partner", "list")
    for_programs = call("partner", "list", "--json").json["partners"]

    assert "river-clinic" in listed.out
    assert "fhir-push, told when 2xx" in listed.out
    assert [p["id"] for p in for_programs] == ["golden-plan", "harbor-ecm", "river-clinic"]
    assert for_programs[2]["agreement"]["proof"] == "2xx"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("id = 1\n", "id"),
        ('id = "a"\nname = "A"\nkind = "hub"\nnpj = "1"\n', "npj"),
        ('id = "a"\nname = "A"\nkind = "hub"\n[agreement]\nendpoit = "x"\n', "agreement.endpoit"),
        ('id = "a"\nname = "A"\nkind = "friend"\n', "kind"),
        ("not toml", "TOML"),
    ],
)
def test_a_partner_file_that_is_wrong_names_the_key(
    call: Call, tmp_path: Path, text: str, named: str
) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)

    done = call("partner", "add", str(file))

    assert done.exit_code == 2
    assert named in done.err


def test_the_shipped_example_of_partners_can_be_added(call: Call) -> None:
    example = Path(__file__).parents[2] / "mappings" / "partners.example.toml"

    done = call("partner", "add", str(example), "--json")

    assert done.exit_code == 0
    assert len(done.json["partners"]) >= 4


def test_the_database_is_checked_against_what_the_program_needs(call: Call) -> None:
    checked = call("db", "check", "--json")

    assert checked.exit_code == 0
    assert checked.json == {"schema": head(), "needed": head(), "ready": True}
    assert not call("db", "upgrade", "--json").json["changed"]


@pytest.mark.postgres
def test_an_empty_postgresql_is_refused_until_upgraded(
    postgres_server: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    database_url = postgres_server.url(postgres_server.create_database())
    monkeypatch.setenv("FHIR_HUB_BRIDGE_DATA_FOLDER", str(tmp_path))

    codes = [
        run([*command, "--database", database_url])
        for command in (
            ["db", "check"],
            ["partner", "list"],
            ["db", "upgrade"],
            ["partner", "list"],
        )
    ]

    assert codes == [2, 2, 0, 0]
    assert "fhir-hub-bridge db upgrade" in capsys.readouterr().err


def test_the_shipped_mappings_have_no_faults(call: Call) -> None:
    done = call("mapping", "check", "--json")

    assert done.exit_code == 0
    assert done.json["faults"] == 0


def test_faults_of_a_mappings_folder_are_listed(call: Call, tmp_path: Path) -> None:
    done = call("mapping", "check", "--folder", str(tmp_path / "nowhere"))

    assert done.exit_code == 1
    assert "does not exist" in done.out


def test_a_setting_that_is_wrong_is_named_without_its_value(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FHIR_HUB_BRIDGE_LEASE_SECONDS", "Testina")

    done = call("partner", "list")

    assert done.exit_code == 2
    assert "FHIR_HUB_BRIDGE_LEASE_SECONDS" in done.err
    assert "Testina" not in done.err


def test_a_database_that_does_not_answer_is_a_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    nowhere = "postgresql:///bridge?host=/nowhere&user=nobody"

    code = run(["partner", "list", "--database", nowhere])

    assert code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


OWN_PROFILE = "https://fhir-hub-bridge.example/fhir/StructureDefinition/clr-referral-task"


def a_json_file(folder: Path, name: str, body: object) -> str:
    path = folder / name
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    return str(path)


def test_a_package_is_added_listed_and_judged_by(call: Call, tmp_path: Path) -> None:
    profile = a_profile("Task", {"id": "Task.description", "min": 1})
    package = tmp_path / "guide.tgz"
    package.write_bytes(an_archive({"package/p.json": profile}))
    task = {"resourceType": "Task", "status": "requested", "intent": "order"}
    file = a_json_file(tmp_path, "task.json", task)

    before = call("validate", file, "--profile", profile["url"])
    added = call("packages", "add", str(package))
    after = call("validate", file, "--profile", profile["url"], "--json")
    listed = call("packages", "list", "--json")

    assert (before.exit_code, added.exit_code, after.exit_code) == (1, 0, 1)
    assert "is not held" in before.out
    assert "Added made.up.guide#1.0.0 with 1 definitions." in added.out
    assert "next start" in added.out
    assert after.json["issue"][0]["expression"] == ["Task.description"]
    (found,) = listed.json["packages"]
    assert (found["name"], found["version"]) == ("made.up.guide", "1.0.0")


def test_what_is_no_package_is_refused(call: Call, tmp_path: Path) -> None:
    file = a_json_file(tmp_path, "guide.tgz", "no package")

    assert call("packages", "add", file).exit_code == 1
    assert call("packages", "add", str(tmp_path / "nowhere.tgz")).exit_code == 2
    assert call("packages", "list", "--json").json == {"packages": []}


def test_files_are_judged_each_and_bundles_entry_by_entry(call: Call, tmp_path: Path) -> None:
    task = {"resourceType": "Task", "status": "requested", "intent": "order"}
    named = {**task, "meta": {"profile": [OWN_PROFILE]}}
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": named}]}
    good = a_json_file(tmp_path, "good.json", task)
    bad = a_json_file(tmp_path, "bad.json", bundle)
    unreadable = a_json_file(tmp_path, "unreadable.json", "{")

    told = call("validate", good, bad, unreadable)
    as_json = call("validate", good, bad, "--json")

    assert told.exit_code == as_json.exit_code == 1
    assert f"{good}: valid" in told.out
    assert f"{bad}: not valid" in told.out
    assert "error Bundle.entry[0].resource.focus: " in told.out
    assert "[json-syntax]" in told.out
    assert [file["file"] for file in as_json.json["files"]] == [good, bad]
    assert call("validate", good).exit_code == 0
    assert call("validate", str(tmp_path / "nowhere.json")).exit_code == 2
