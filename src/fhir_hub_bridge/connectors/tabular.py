"""Reads a partner's CSV file as it comes, row by row.

A file is looked through once before any row is handed out, so that what makes the whole file
unreadable is known before anything of it is used. Memory stays bounded whatever its size. Rows:
RFC 4180, with other delimiters. After: `intake.import_file`; `rejects` writes rows back.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from fhir_hub_bridge.connectors.spreadsheet_guard import unguarded
from fhir_hub_bridge.errors import BadSetting, Issue, Rejected

# What `rejects` adds to a file; a file with them is one of ours that comes back.
REJECT_HEADINGS = ("Reject row", "Reject column", "Reject rule", "Reject reason")

_CHUNK = 1 << 20
_HEADER_WITHIN = 50  # lines
_LONGEST_LINE = 1 << 20  # characters; a longer one is no row of a table
_OTHER_KINDS = (
    (b"PK\x03\x04", "an Excel workbook or another zip archive, which cannot be read yet"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook, which cannot be read"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive"),
)
_EXCEL_HINT = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # a first line that only Excel understands


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file is written: `utf-8-sig`, `utf-8`, `utf-16` or `cp1252`; and its delimiter."""

    encoding: str = "utf-8"
    delimiter: str = ","


@dataclass(frozen=True, slots=True)
class FileRow:
    """One row: the line it begins in, its cells, and why it cannot be used, if so.

    Of a row that cannot be split into cells, the only cell is its text.
    """

    line: int
    cells: Sequence[str]
    issues: tuple[Issue, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A file that can be read as a table. `digest` is the SHA-256 of its bytes, in hex."""

    path: Path
    dialect: Dialect
    header: tuple[str, ...]
    header_line: int
    rows_total: int  # rows that `rows` will give, for a progress bar
    size: int
    digest: str
    ends_in_half_a_character: bool = False

    def rows(self) -> Iterator[FileRow]:
        """All rows below the header but blank ones. Raises Rejected if the file has changed."""
        yield from _rows(self)


def open_table(
    path: Path,
    *,
    encodings: Sequence[str] = ("utf-8", "utf-16", "cp1252"),
    delimiters: Sequence[str] = (",", ";", "\t", "|"),
) -> Table:
    """Look the file through: kind, encoding, delimiter, header, number of rows, size and digest.

    A half-written last line does not make the file unreadable; its row will carry an issue.
    Raises BadSetting if there is no such file; Rejected if it is empty, of another kind, in none of
    these encodings, has NUL bytes, no header with one of these delimiters, or a quotation mark that
    is never closed.
    """
    size, digest, encoding, torn = _look_through(path)
    if encoding.removesuffix("-sig") not in encodings:
        raise _rejected(path, "encoding", f"The file is written in {encoding}, not as agreed.")
    delimiter, header, header_line = _header(path, encoding, delimiters, torn=torn)
    table = Table(
        path=path,
        dialect=Dialect(encoding, delimiter),
        header=header,
        header_line=header_line,
        rows_total=0,
        size=size,
        digest=digest,
        ends_in_half_a_character=torn,
    )
    return replace(table, rows_total=sum(1 for _ in _rows(table)))


def _look_through(path: Path) -> tuple[int, str, str, bool]:
    """Size, digest, encoding, and whether the file ends within a character."""
    size, digest = 0, hashlib.sha256()
    utf8 = codecs.getincrementaldecoder("utf-8")()
    start, is_utf8, has_nul = b"", True, False
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                start = start or chunk[:8]
                size += len(chunk)
                digest.update(chunk)
                has_nul = has_nul or b"\0" in chunk
                is_utf8 = is_utf8 and _decodes(utf8, chunk)
    except (FileNotFoundError, IsADirectoryError):
        raise BadSetting(f"There is no file {path.name}.") from None
    except PermissionError:
        raise BadSetting(f"The file {path.name} may not be read.") from None
    if not size:
        raise _rejected(path, "empty", "The file is empty.")
    for magic, kind in _OTHER_KINDS:
        if start.startswith(magic):
            raise _rejected(path, "file-kind", f"The file is {kind}; send it as CSV.")
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return size, digest.hexdigest(), "utf-16", size % 2 == 1
    if has_nul:
        raise _rejected(path, "nul-bytes", "The file has NUL bytes; it is no text as agreed.")
    if is_utf8:
        encoding = "utf-8-sig" if start.startswith(codecs.BOM_UTF8) else "utf-8"
        return size, digest.hexdigest(), encoding, bool(utf8.getstate()[0])
    return size, digest.hexdigest(), "cp1252", False


def _decodes(decoder: codecs.IncrementalDecoder, chunk: bytes) -> bool:
    try:
        decoder.decode(chunk)
    except UnicodeDecodeError:
        return False
    return True


def _header(
    path: Path, encoding: str, delimiters: Sequence[str], *, torn: bool
) -> tuple[str, tuple[str, ...], int]:
    """The delimiter, the headings and the line they end in: the first row that is not blank."""
    lines = list(islice(_lines(path, encoding, torn=torn), _HEADER_WITHIN))
    best: tuple[str, tuple[str, ...], int] = ("", (), 1)
    for delimiter in delimiters:
        headings, line = _first_row(lines, delimiter)
        if len(headings) > len(best[1]):
            best = (delimiter, headings, line)
    if not any(line.strip() for line in lines):
        raise _rejected(path, "empty", "The file has only blank lines.")
    if len(best[1]) < 2:
        known = ", ".join({"\t": "tab"}.get(one, one) for one in delimiters)
        raise _rejected(
            path,
            "delimiter",
            f"The first line is not divided by any of: {known} - the headings must stand in it.",
        )
    return best


def _first_row(lines: Sequence[str], delimiter: str) -> tuple[tuple[str, ...], int]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            is_hint = reader.line_num == 1 and _EXCEL_HINT.fullmatch(lines[0])
            if any(cell.strip() for cell in cells) and not is_hint:
                return tuple(cells), reader.line_num
    except csv.Error:  # not written with this delimiter
        pass
    return (), 1


def _rows(table: Table) -> Iterator[FileRow]:
    lines = _lines(table.path, table.dialect.encoding, torn=table.ends_in_half_a_character)
    source = _SourceLines(lines)
    reader = csv.reader(source, delimiter=table.dialect.delimiter, strict=True)
    is_returned = REJECT_HEADINGS[0] in table.header
    while True:
        line = source.number + 1
        source.taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            if source.number > table.header_line:
                yield _unreadable(table.path, source, line, error)
            continue
        if line <= table.header_line or not any(cell.strip() for cell in cells):
            continue
        half = source.ends_without_newline and (
            table.ends_in_half_a_character or len(cells) < len(table.header)
        )
        if is_returned:
            cells = [unguarded(cell) for cell in cells]
        yield FileRow(line, cells, (_half_written(line),) if half else ())
    if table.path.stat().st_size != table.size:
        raise _rejected(table.path, "changed", "The file changed while it was read.")


class _SourceLines:
    """The file's lines on their way to the CSV reader, which takes several for one row."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.number = 0
        self.taken: list[str] = []  # for the row being read
        self.ends_without_newline = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        self.taken.append(line)
        self.ends_without_newline = not line.endswith(("\n", "\r"))
        return line


def _lines(path: Path, encoding: str, *, torn: bool) -> Iterator[str]:
    # Only a file known to end within a character is read with replacements: its last row is
    # refused anyway.
    errors = "replace" if torn else "strict"
    try:
        with path.open(encoding=encoding, errors=errors, newline="") as file:
            while line := file.readline(_LONGEST_LINE + 1):
                if len(line) > _LONGEST_LINE:
                    raise _rejected(path, "line-length", "A line is too long for a table's row.")
                if "\0" in line:
                    raise _rejected(path, "nul-bytes", "The file has NUL characters.")
                yield line
    except UnicodeDecodeError:
        raise _rejected(
            path, "encoding", "The file is neither UTF-8, nor UTF-16 with its mark, nor cp1252."
        ) from None


def _unreadable(path: Path, source: _SourceLines, line: int, error: csv.Error) -> FileRow:
    """A row that cannot be split. Raises Rejected where a quotation mark swallowed lines."""
    text = "".join(source.taken).rstrip("\r\n")
    if len(source.taken) > 1:
        raise _rejected(
            path,
            "quotation",
            f"A quotation mark opened in row {line} is never closed, or not where the cell ends.",
            line=line,
        )
    if source.ends_without_newline and "unexpected end" in str(error):
        return FileRow(line, (text,), (_half_written(line),))
    return FileRow(
        line,
        (text,),
        (
            Issue(
                place=f"row {line}",
                message="The row cannot be split into cells: a quotation mark stands within one.",
                code="structure",
                rule="row-unreadable",
            ),
        ),
    )


def _half_written(line: int) -> Issue:
    return Issue(
        place=f"row {line}",
        message="The file breaks off within this row; it was not written or sent to its end.",
        code="incomplete",
        rule="half-written-row",
    )


def _rejected(path: Path, rule: str, message: str, *, line: int = 1) -> Rejected:
    return Rejected(
        f"{path.name}: {message}",
        [Issue(place=f"row {line}", message=message, code="structure", rule=rule)],
    )
