"""Reads the tables (CSV) and settings (TOML) of the mappings folder, noting every fault's place.

A faulty value is noted and a harmless stand-in returned, so that one pass finds all faults; whoever
loads the folder refuses it if any was noted. After: `rulebook_files`, `layout_files`, `catalog`.
"""

from __future__ import annotations

import csv
import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from fhir_hub_bridge.errors import Issue
from fhir_hub_bridge.referral.rulebook import Citation, Confidence

T = TypeVar("T", bound=str)
V = TypeVar("V")

_HEADER = re.compile(r"\s*\[{1,2}([^\[\]]+)\]{1,2}\s*(?:#.*)?$")
_KINDS: Mapping[type, str] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    date: "a date",
    time: "a time of day",
    list: "a list",
    dict: "a table",
}
_FLAGS = {"yes": True, "no": False}


@dataclass(slots=True)
class MappingFolder:
    """The folder being read: what was read of it, and what was found wrong."""

    root: Path
    problems: list[Issue] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)

    def problem(self, place: str, message: str, *, value: str = "") -> None:
        """Note a fault; `place` names file, line and column or key."""
        self.problems.append(Issue(place, message, code="invalid", rule="mapping", value=value))

    def table(self, name: str, columns: Sequence[str]) -> list[TableRow]:
        """The rows of a CSV file that must have just these columns, in this order."""
        lines = csv.reader(self._text(name).splitlines(keepends=True), strict=True)
        rows: list[TableRow] = []
        try:
            header = next(lines, None)
            if header is None:
                return rows
            if header != list(columns):
                self.problem(f"{name} line 1", f"The columns must be: {','.join(columns)}")
                return rows
            for cells in lines:
                place = f"{name} line {lines.line_num}"
                if len(cells) == len(columns):
                    rows.append(TableRow(self, place, dict(zip(columns, cells, strict=True))))
                elif cells:
                    self.problem(place, f"{len(cells)} cells where {len(columns)} belong.")
        except csv.Error as error:
            self.problem(f"{name} line {lines.line_num}", f"Not readable as CSV: {error}.")
        return rows

    def settings(self, name: str) -> Settings | None:
        """The content of a TOML file; None, with a problem noted, if it cannot be read."""
        text = self._text(name)
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            self.problem(name, f"Not readable as TOML: {error}.")
            return None
        return Settings(self, name, values, text) if values else None

    def version(self, names: Sequence[str]) -> str:
        """A short SHA-256 over these files' names and bytes."""
        digest = hashlib.sha256()
        for name in sorted(names):
            digest.update(name.encode() + b"\0" + self.contents.get(name, b"") + b"\0")
        return digest.hexdigest()[:16]

    def _text(self, name: str) -> str:
        try:
            content = (self.root / name).read_bytes()
            self.contents[name] = content
            return content.decode("utf-8-sig")
        except OSError:
            self.problem(name, "The file is missing or cannot be read.")
        except UnicodeDecodeError:
            self.problem(name, "The file is not UTF-8.")
        return ""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a CSV file, read cell by cell; `place` is its file and line."""

    folder: MappingFolder
    place: str
    cells: Mapping[str, str]

    def problem(self, column: str, message: str) -> None:
        """Note a fault of one cell."""
        self.folder.problem(f"{self.place}, column {column}", message, value=self.cells[column])

    def text(self, column: str) -> str:
        """A cell that must not be empty."""
        value = self.cells[column].strip()
        if not value:
            self.problem(column, "This cell must not be empty.")
        return value

    def optional(self, column: str) -> str:
        """A cell that may be empty."""
        return self.cells[column].strip()

    def choice(self, column: str, options: Sequence[T]) -> T:
        """A cell that must hold one of these words ("" among them if it may be empty)."""
        value = self.cells[column].strip()
        if not options:  # the table that should name them is faulty, and noted
            return cast("T", value)
        for option in options:
            if value == option:
                return option
        self.problem(column, f"Must be one of: {', '.join(repr(str(o)) for o in options)}.")
        return options[0]

    def flag(self, column: str) -> bool:
        """A cell that must hold yes or no."""
        return _FLAGS[self.choice(column, ("no", "yes"))]

    def day(self, column: str) -> date | None:
        """A cell that holds a date YYYY-MM-DD or nothing."""
        value = self.cells[column].strip()
        if not value:
            return None
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.problem(column, "Must be a date like 2025-07-01.")
            return None

    def citation(self) -> Citation:
        """Its source and confidence, which every row must have."""
        return Citation(self.text("source"), self.choice("confidence", get_args(Confidence)))


@dataclass(frozen=True, slots=True)
class Settings:
    """One table of a TOML file, read key by key; `name` is the file, `table` where in it."""

    folder: MappingFolder
    name: str
    values: Mapping[str, Any]
    source: str
    table: str = ""
    number: int = 1  # which of several tables of that name

    def problem(self, key: str, message: str) -> None:
        """Note a fault of one key, with the line it stands in."""
        where = f"{self.table}.{key}".strip(".")
        self.folder.problem(f"{self.name} line {self._line(key)}, key {where}", message)

    def keys(self, *known: str) -> None:
        """Note every key that is not among these: a misspelt key must not pass silently."""
        for key in self.values:
            if key not in known:
                self.problem(key, f"Unknown key; known are: {', '.join(known)}.")

    def value(self, key: str, kind: type[V], stand_in: V, *, needed: bool = True) -> V:
        """The value of a key, which must be of this kind."""
        found = self.values.get(key)
        if found is None and not needed:
            return stand_in
        # A datetime is a date, and a bool an int, to isinstance; neither is meant here.
        if type(found) is not kind:
            self.problem(key, f"Must be {_KINDS[kind]}.")
            return stand_in
        return found

    def text(self, key: str, *, needed: bool = True) -> str:
        """A text; it may be missing only if not needed."""
        found = self.value(key, str, "", needed=needed)
        if needed and key in self.values and not found.strip():
            self.problem(key, "Must not be empty.")
        return found

    def choice(self, key: str, options: Sequence[T]) -> T:
        """One of these words."""
        found = self.values.get(key)
        for option in options:
            if found == option:
                return option
        self.problem(key, f"Must be one of: {', '.join(str(o) for o in options)}.")
        return options[0]

    def texts(self, key: str, *, needed: bool = True) -> tuple[str, ...]:
        """A list of texts."""
        found = self.value(key, list, [], needed=needed)
        if not all(isinstance(item, str) for item in found):
            self.problem(key, "Must be a list of texts.")
            return ()
        return tuple(found)

    def day(self, key: str) -> date:
        """A date."""
        return self.value(key, date, date.min)

    def time(self, key: str) -> time:
        """A time of day."""
        return self.value(key, time, time.min)

    def part(self, key: str) -> Settings:
        """A table within this one; an empty one, with a problem noted, if it is missing."""
        found = self.value(key, dict, {})
        return Settings(self.folder, self.name, found, self.source, self._inner(key))

    def parts(self, key: str) -> list[Settings]:
        """A list of tables within this one; empty if there is none."""
        found = self.value(key, list, [], needed=False)
        if not all(isinstance(item, dict) for item in found):
            self.problem(key, "Must be a list of tables.")
            return []
        return [
            Settings(self.folder, self.name, item, self.source, self._inner(key), number)
            for number, item in enumerate(found, start=1)
        ]

    def citation(self) -> Citation:
        """Its source and confidence, which every table of rules must have."""
        return Citation(self.text("source"), self.choice("confidence", get_args(Confidence)))

    def _inner(self, key: str) -> str:
        return f"{self.table}.{key}".strip(".")

    def _line(self, key: str) -> int:
        """The line of this key, else of its table's head: tomllib does not tell."""
        table, seen, head = "", 0, 1
        is_key = re.compile(rf"\s*{re.escape(key)}\s*=")
        for number, line in enumerate(self.source.splitlines(), start=1):
            if match := _HEADER.match(line):
                table = match[1].strip()
                seen += table == self.table
                head = number if table == self.table and seen == self.number else head
            elif table == self.table and is_key.match(line) and seen in (self.number, 0):
                return number
        return head
