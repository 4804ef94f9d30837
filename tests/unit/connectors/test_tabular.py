"""Partners' CSV files as they come, and the rejects that go back."""

from __future__ import annotations

import csv
import hashlib
import stat
import tracemalloc
from pathlib import Path

import pytest

from fhir_hub_bridge.connectors.rejects import RejectedRow, write_rejects
from fhir_hub_bridge.connectors.tabular import Dialect, Table, open_table
from fhir_hub_bridge.errors import BadSetting, Issue, Rejected

TEXT = "Name,Town\nGómez,Sacramento\n\u00c5sa,Davis\n"


def a_file(folder: Path, content: bytes | str, *, encoding: str = "utf-8") -> Path:
    path = folder / "hub.csv"
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return path


def the_cells(table: Table) -> list[list[str]]:
    rows = list(table.rows())
    assert [row.issues for row in rows] == [()] * len(rows)
    assert len(rows) == table.rows_total
    return [list(row.cells) for row in rows]


def the_rule(path: Path) -> str:
    with pytest.raises(Rejected) as error:
        list(open_table(path).rows())
    assert str(error.value).startswith("hub.csv: ")
    return error.value.issues[0].rule


@pytest.mark.parametrize(
    ("encoding", "decided"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("cp1252", "cp1252"),
        ("utf-16", "utf-16"),
    ],
)
def test_the_encoding_is_decided_and_told(tmp_path: Path, encoding: str, decided: str) -> None:
    table = open_table(a_file(tmp_path, TEXT, encoding=encoding))

    assert table.dialect.encoding == decided
    assert table.header == ("Name", "Town")
    assert the_cells(table) == [["Gómez", "Sacramento"], ["\u00c5sa", "Davis"]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_decided_by_the_header(tmp_path: Path, delimiter: str) -> None:
    text = f'"Name, first"{delimiter}Town{delimiter}Zip\n"A{delimiter}B"{delimiter}C{delimiter}1\n'

    table = open_table(a_file(tmp_path, text))

    assert table.dialect.delimiter == delimiter
    assert table.header == ("Name, first", "Town", "Zip")
    assert the_cells(table) == [[f"A{delimiter}B", "C", "1"]]


def test_a_line_for_excel_alone_is_passed_over(tmp_path: Path) -> None:
    table = open_table(a_file(tmp_path, "sep=;\nName;Town\nA;B\n"))

    assert (table.header, table.header_line) == (("Name", "Town"), 2)
    assert [row.line for row in table.rows()] == [3]


def test_rows_know_the_line_they_begin_in(tmp_path: Path) -> None:
    text = 'Name,"Home\ntown"\r\n\r\n"A\nB",C\r\n,\r\nD,E\r\n'

    rows = list(open_table(a_file(tmp_path, text)).rows())

    assert [(row.line, list(row.cells)) for row in rows] == [(4, ["A\nB", "C"]), (7, ["D", "E"])]


def test_size_and_digest_are_those_of_the_bytes(tmp_path: Path) -> None:
    content = TEXT.encode("utf-16")

    table = open_table(a_file(tmp_path, content))

    assert table.size == len(content)
    assert table.digest == hashlib.sha256(content).hexdigest()


def test_a_half_written_last_line_is_listed_and_the_rest_read(tmp_path: Path) -> None:
    rows = list(open_table(a_file(tmp_path, "Name,Town,Zip\nA,B,1\nC,D")).rows())

    assert [(row.line, [issue.rule for issue in row.issues]) for row in rows] == [
        (2, []),
        (3, ["half-written-row"]),
    ]


def test_a_last_line_that_only_lacks_its_newline_is_whole(tmp_path: Path) -> None:
    assert the_cells(open_table(a_file(tmp_path, "Name,Town\nA,B"))) == [["A", "B"]]


def test_a_last_line_that_ends_within_quotes_is_half_written(tmp_path: Path) -> None:
    rows = list(open_table(a_file(tmp_path, 'Name,Town\nA,B\nC,"Sacr')).rows())

    assert [issue.rule for issue in rows[-1].issues] == ["half-written-row"]
    assert rows[-1].cells == ('C,"Sacr',)


def test_a_file_that_ends_within_a_character_is_half_written_utf8(tmp_path: Path) -> None:
    content = "Name,Town\nGómez,B\nC,Sacramé".encode()[:-1]

    table = open_table(a_file(tmp_path, content))
    rows = list(table.rows())

    assert table.dialect.encoding == "utf-8"
    assert list(rows[0].cells) == ["Gómez", "B"]
    assert [issue.rule for issue in rows[1].issues] == ["half-written-row"]


def test_a_row_with_a_quotation_mark_within_a_cell_is_listed(tmp_path: Path) -> None:
    rows = list(open_table(a_file(tmp_path, 'Name,Town\n"A"x,B\nC,D\n')).rows())

    assert [[issue.rule for issue in row.issues] for row in rows] == [["row-unreadable"], []]
    assert rows[0].cells == ('"A"x,B',)


def test_a_row_of_another_width_is_handed_out_as_it_is(tmp_path: Path) -> None:
    table = open_table(a_file(tmp_path, "Name,Town\nA\nB,C,D\n"))

    assert the_cells(table) == [["A"], ["B", "C", "D"]]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "empty"),
        (b"\n \n\n", "empty"),
        (b"PK\x03\x04rest", "file-kind"),
        (b"\xd0\xcf\x11\xe0rest", "file-kind"),
        (b"%PDF-1.7", "file-kind"),
        (b"a,b\n1,\x002\n", "nul-bytes"),
        ("a,b\n1,2\n".encode("utf-16-le"), "nul-bytes"),
        ("a,b\n1,\x002\n".encode("utf-16"), "nul-bytes"),
        (b"Return Transmission File\na,b\n", "delimiter"),
        (b"a,b\n\x81,\xe9\n", "encoding"),
        (b'a,b\n1,"2\n3,4\n5,6\n', "quotation"),
        (b'a,b\n1,"2\n3,4\n5,"6"\n', "quotation"),
        (b"a,b\n1," + b"x" * 2_000_000, "line-length"),
    ],
)
def test_what_cannot_be_read_as_a_table_is_refused_whole(
    tmp_path: Path, content: bytes, rule: str
) -> None:
    assert the_rule(a_file(tmp_path, content)) == rule


def test_an_endless_quotation_is_found_before_any_row_is_handed_out(tmp_path: Path) -> None:
    text = 'a,b\n1,2\n3,"4\n' + "5,6\n" * 100_000

    with pytest.raises(Rejected, match="opened in row 3"):
        open_table(a_file(tmp_path, text))


def test_an_encoding_that_was_not_agreed_is_refused(tmp_path: Path) -> None:
    path = a_file(tmp_path, TEXT, encoding="cp1252")

    with pytest.raises(Rejected, match="written in cp1252"):
        open_table(path, encodings=("utf-8",))


def test_a_missing_file_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"no file nowhere\.csv"):
        open_table(tmp_path / "nowhere.csv")
    with pytest.raises(BadSetting, match="no file"):
        open_table(tmp_path)


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = a_file(tmp_path, TEXT)
    table = open_table(path)

    with path.open("ab") as file:
        file.write(b"late,row\n")

    with pytest.raises(Rejected, match="changed while it was read"):
        list(table.rows())


def test_memory_stays_bounded_whatever_the_size(tmp_path: Path) -> None:
    path = a_file(tmp_path, "Name,Town\n" + f"{'x' * 300},somewhere\n" * 20_000)
    tracemalloc.start()

    table = open_table(path)
    rows = sum(1 for _ in table.rows())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert rows == 20_000
    assert peak < table.size


def test_rejects_go_back_in_the_senders_columns_with_what_was_wrong(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    issues = [
        Issue("row 3, column Town", "No such town.", rule="town"),
        Issue("row 3", "Too old.", rule="age"),
    ]

    count = write_rejects(
        path,
        ["Name", "Town"],
        [RejectedRow(3, ["A;B", "C"], issues), RejectedRow(5, ["D"], issues[:1])],
        dialect=Dialect("utf-8-sig", ";"),
    )

    assert count == 2
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file, delimiter=";")) == [
            ["Name", "Town", "Reject row", "Reject column", "Reject rule", "Reject reason"],
            ["A;B", "C", "3", "Town; ", "town; age", "No such town. Too old."],
            ["D", "", "5", "Town", "town", "No such town."],
        ]


def test_only_its_owner_may_read_a_rejects_file(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    path.write_text("older")
    path.chmod(0o644)

    write_rejects(path, ["a"], [], dialect=Dialect())

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["rejects.csv"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_cells_that_a_spreadsheet_would_run_are_made_harmless(tmp_path: Path, start: str) -> None:
    path = tmp_path / "rejects.csv"
    cell = f"{start}HYPERLINK(1)"

    write_rejects(path, ["a"], [RejectedRow(2, [cell], [])], dialect=Dialect())

    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1][0] == f"'{cell}"


def test_cells_beyond_the_header_are_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"

    write_rejects(path, ["a"], [RejectedRow(2, ["1", "2"], [])], dialect=Dialect())

    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1] == ["1", "2", "", "", "", "2"]


def test_rejects_put_right_can_be_sent_again(tmp_path: Path) -> None:
    table = open_table(a_file(tmp_path, TEXT, encoding="cp1252"))
    path = tmp_path / "rejects.csv"
    rejects = [RejectedRow(row.line, row.cells, []) for row in table.rows()]

    write_rejects(path, table.header, rejects, dialect=table.dialect)

    again = open_table(path)
    assert again.dialect == table.dialect
    assert [list(row.cells)[:2] for row in again.rows()] == the_cells(table)


def test_a_rejects_file_that_comes_back_has_its_cells_as_first_sent(tmp_path: Path) -> None:
    sent = ["'Test", "=Fam", "+1 916 555 0100", "-12 Main"]
    rejects = tmp_path / "rejects.csv"
    write_rejects(rejects, ("a", "b", "c", "d"), [RejectedRow(2, sent, [])], dialect=Dialect())

    (row,) = open_table(rejects).rows()

    assert list(row.cells[:4]) == sent
