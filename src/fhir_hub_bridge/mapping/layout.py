"""The shape of a layout: which column of a hub's or plan's file says what, in which spellings.

Layouts are data (`mappings/hubs/<layout>/`), read by `layout_files`; `header` finds their columns
in a file's first line and `row_to_referral` reads the rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from fhir_hub_bridge.referral.model import ReferralStatus
from fhir_hub_bridge.referral.rulebook import Citation

Filled = Literal["always", "with-status", "at-closure", "if-known"]
DateForm = Literal["MM/DD/YYYY", "M/D/YY", "MM-DD-YYYY", "YYYY-MM-DD", "YYYYMMDD", "excel-serial"]
Unmatched = Literal["review", "open", "keep"]

_NOT_ALPHANUMERIC = re.compile(r"[^0-9a-z]+")


class Field(StrEnum):
    """What a column can say. The three closed-loop elements and their text stand last."""

    PLAN_CODE = "plan-code"
    PLAN_NAME = "plan-name"
    CIN = "cin"
    FAMILY = "family"
    GIVEN = "given"
    BIRTH_DATE = "birth-date"
    PHONE = "phone"
    NEW_PHONE = "new-phone"
    ADDRESS_LINE = "address-line"
    CITY = "city"
    STATE = "state"
    POSTAL_CODE = "postal-code"
    NEW_ADDRESS = "new-address"
    PROVIDER_NAME = "provider-name"
    PROVIDER_NPI = "provider-npi"
    PROVIDER_TIN = "provider-tin"
    SERVICE = "service"
    HCPCS = "hcpcs"
    MODIFIERS = "modifiers"
    STATUS = "status"
    STATUS_ON = "status-on"
    REASON = "reason"
    REASON_TEXT = "reason-text"

    # Enum's own hash runs in Python; cells are looked up by field some forty times a row.
    __hash__ = str.__hash__


@dataclass(frozen=True, slots=True)
class Column:
    """One column: what it says, how its heading is spelled, and when it must say something.

    `required` is about the heading, `filled` about the cells.
    """

    field: Field
    heading: str
    aliases: tuple[str, ...] = ()
    required: bool = False
    filled: Filled = "if-known"


@dataclass(frozen=True, slots=True)
class Layout:
    """One layout. Spellings are folded by `fold_spelling`, headings by `fold_heading`."""

    name: str
    title: str
    columns: Mapping[Field, Column]
    carried: tuple[str, ...]  # headings that are known and only kept
    date_forms: tuple[DateForm, ...]
    delimiters: tuple[str, ...]
    encodings: tuple[str, ...]
    unmatched: Unmatched
    fixed_service: str  # the service of every row, or "" where columns say it
    blanks: frozenset[str]  # cells that say nothing is known; never read so in status columns
    statuses: Mapping[str, ReferralStatus]
    reasons: Mapping[str, str]  # spelling -> closure reason code, "" for "says there is none"
    services: Mapping[str, str]  # spelling -> service code
    citation: Citation
    version: str  # SHA-256 prefix of the files it was read from

    def heading(self, field: Field) -> str:
        """How this layout calls the column, for messages to a sender."""
        column = self.columns.get(field)
        return column.heading if column else str(field)


def fold_spelling(cell: str) -> str:
    """A cell as value maps know it: case and runs of white space do not count."""
    return " ".join(cell.split()).casefold()


def fold_heading(heading: str) -> str:
    """A heading as layouts know it: only letters and digits count, so neither does a BOM."""
    return _NOT_ALPHANUMERIC.sub(" ", heading.casefold()).strip()
