"""Reads one layout: `mappings/hubs/<layout>/layout.toml` and the value maps it names.

Checked here: every referral status can be spelled, every spelling leads to a code that exists, no
heading means two columns. After: `catalog`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, get_args

from fhir_hub_bridge.mapping.data_files import MappingFolder, Settings
from fhir_hub_bridge.mapping.layout import (
    Column,
    DateForm,
    Field,
    Filled,
    Layout,
    Unmatched,
    fold_heading,
    fold_spelling,
)
from fhir_hub_bridge.referral.model import ReferralStatus
from fhir_hub_bridge.referral.rulebook import Rulebook

C = TypeVar("C")

DELIMITERS = (",", ";", "\t", "|")
ENCODINGS = ("utf-8", "utf-16", "cp1252")
_ALWAYS_NEEDED = (Field.CIN, Field.STATUS, Field.STATUS_ON, Field.REASON)
_NOTHING = ""  # the code of spellings that say "none", as N/A does


def read_layout(folder: MappingFolder, name: str, rulebook: Rulebook) -> Layout | None:
    """The layout of this name; None where its file cannot be read at all."""
    home = f"hubs/{name}"
    file = folder.settings(f"{home}/layout.toml")
    if file is None:
        return None
    file.keys(
        *("name", "title", "file", "rows", "values", "column", "carried", "source", "confidence")
    )
    if file.text("name") != name:
        file.problem("name", "Must be the name of the layout's folder.")
    rows, files, values = file.part("rows"), file.part("file"), file.part("values")
    rows.keys("unmatched", "service", "dates", "blanks")
    files.keys("delimiters", "encodings")
    values.keys("status", "reason", "service")
    columns = _columns(file)
    fixed_service = rows.text("service", needed=False)
    if fixed_service and fixed_service not in rulebook.services:
        rows.problem("service", "No such service in codes/services.csv.")
    _check_columns(file, columns, fixed_service)
    value_maps = {key: f"{home}/{values.text(key)}" for key in values.values}
    return Layout(
        name=name,
        title=file.text("title"),
        columns=columns,
        carried=file.texts("carried", needed=False),
        date_forms=_words(rows, "dates", get_args(DateForm)),
        delimiters=_words(files, "delimiters", DELIMITERS),
        encodings=_words(files, "encodings", ENCODINGS),
        unmatched=rows.choice("unmatched", get_args(Unmatched)),
        fixed_service=fixed_service,
        blanks=frozenset(fold_spelling(word) for word in rows.texts("blanks", needed=False)),
        statuses=_statuses(folder, value_maps),
        reasons=_codes(folder, value_maps, "reason", (*rulebook.closure_reasons, _NOTHING)),
        services=_codes(folder, value_maps, "service", tuple(rulebook.services)),
        citation=file.citation(),
        version=folder.version((f"{home}/layout.toml", *value_maps.values())),
    )


def _columns(file: Settings) -> dict[Field, Column]:
    columns: dict[Field, Column] = {}
    headings: set[str] = set()
    for row in file.parts("column"):
        row.keys("field", "heading", "aliases", "required", "filled")
        column = Column(
            field=Field(row.choice("field", [str(known) for known in Field])),
            heading=row.text("heading"),
            aliases=row.texts("aliases", needed=False),
            required=row.value("required", bool, False, needed=False),
            filled=row.choice("filled", get_args(Filled)) if "filled" in row.values else "if-known",
        )
        if column.field in columns:
            row.problem("field", "Another column has this field.")
        for heading in (column.heading, *column.aliases):
            if fold_heading(heading) in headings:
                row.problem("heading", f"'{heading}' is the heading or alias of another column.")
            headings.add(fold_heading(heading))
        columns[column.field] = column
    for heading in file.texts("carried", needed=False):
        if fold_heading(heading) in headings:
            file.problem("carried", f"'{heading}' is the heading or alias of a column.")
    return columns


def _check_columns(file: Settings, columns: Mapping[Field, Column], fixed_service: str) -> None:
    for needed in _ALWAYS_NEEDED:
        if needed not in columns or not columns[needed].required:
            file.problem("column", f"A required column for the field '{needed}' is missing.")
    if not fixed_service and not {Field.SERVICE, Field.HCPCS} & columns.keys():
        file.problem("column", "Neither a fixed service nor a column tells the service.")
    if not {Field.PLAN_CODE, Field.PLAN_NAME} & columns.keys():
        file.problem("column", "No column tells the plan.")


def _words(part: Settings, key: str, options: tuple[C, ...]) -> tuple[C, ...]:
    """A list that is not empty, of words that are all among the options."""
    known = {str(option): option for option in options}
    found = part.texts(key)
    unknown = [word for word in found if word not in known]
    if unknown or not found:
        part.problem(key, f"Must be a list of some of: {', '.join(map(repr, known))}.")
    return tuple(known[word] for word in found if word in known)


def _statuses(folder: MappingFolder, value_maps: Mapping[str, str]) -> dict[str, ReferralStatus]:
    codes = _codes(folder, value_maps, "status", tuple(str(status) for status in ReferralStatus))
    for status in ReferralStatus:
        if str(status) not in codes.values():
            folder.problem(value_maps.get("status", "values"), f"Nothing spells '{status}'.")
    return {spelling: ReferralStatus(code) for spelling, code in codes.items()}


def _codes(
    folder: MappingFolder, value_maps: Mapping[str, str], key: str, known: tuple[str, ...]
) -> dict[str, str]:
    """One value map: spelling to code."""
    if key not in value_maps:
        return {}
    codes: dict[str, str] = {}
    for row in folder.table(value_maps[key], ("spelling", "code", "source", "confidence")):
        row.citation()
        spelling, code = fold_spelling(row.text("spelling")), row.choice("code", known)
        if spelling in codes:
            row.problem("spelling", "This spelling stands here twice.")
        codes[spelling] = code
    return codes
