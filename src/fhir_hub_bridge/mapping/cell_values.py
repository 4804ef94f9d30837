"""What one cell says: a CIN, an NPI, a tax number, a date, a billing code; or what is wrong there.

Nothing is guessed: a cell that cannot be read is a Fault for its sender, never a default. Faults
carry no cell content, because messages may be logged. Rules: Medi-Cal CIN (digit 9, seven digits, a
letter), NPI check digit (https://www.cms.gov/Regulations-and-Guidance/Administrative-Simplification/
NationalProvIdentStand/Downloads/NPIcheckdigit.pdf). After: `row_to_referral`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from fhir_hub_bridge.mapping.layout import DateForm
from fhir_hub_bridge.referral.rulebook import BillingCode


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a cell cannot be read. `echo` is False where its content must not be repeated.

    `code` is a FHIR IssueType code (http://hl7.org/fhir/R4/valueset-issue-type.html).
    """

    rule: str
    message: str
    echo: bool = True
    code: str = "value"


_CIN = re.compile(r"(9\d{7}[A-Z])(?:\d(?:\d{4})?)?", re.ASCII)
# Letters that county handbooks list as never used; unusual, not wrong.
_UNUSUAL_CIN_LETTERS = frozenset("BIJKLOPQRS")
_NINE_DIGITS = re.compile(r"\d{9}")
_SCIENTIFIC = re.compile(r"[+-]?\d+(?:[.,]\d+)?E[+-]?\d+", re.IGNORECASE)
_TEN_DIGITS = re.compile(r"\d{10}", re.ASCII)
_TAX_NUMBER = re.compile(r"\d{2}-?\d{7}", re.ASCII)
_NO_TAX_NUMBER = re.compile(r"[0-]*[01]", re.ASCII)  # 1, 000000001, 00-0000001, 00-0000000
_MIDNIGHT = re.compile(r"[ T](?:0{1,2}:00(?::00(?:\.0+)?)?|12:00(?::00)? ?AM)$", re.IGNORECASE)
_BILLING = re.compile(r"([A-Z]\d{4})([^A-Z0-9]*[A-Z0-9].*)?", re.ASCII | re.DOTALL)
_BETWEEN_MODIFIERS = re.compile(r"[\s,;:/|.+-]+")
_MODIFIERS = re.compile(r"(?:[A-Z0-9]{2}){0,5}")  # "U6GQ" is two
# Excel counts days from here (its 1900 system, whose false 29 February 1900 shifts the origin).
_EXCEL_ORIGIN = date(1899, 12, 30)

_CIN_DIGITS = Fault(
    "cin-nine-digits",
    "Nine digits in a row are no CIN and may be a Social Security number; "
    "they are not repeated here. A CIN is the digit 9, seven digits and a letter.",
    echo=False,
)
_CIN_FORM = Fault("cin-form", "A CIN is the digit 9, seven digits and a letter.")
_CIN_NUMBER = Fault(
    "cin-scientific",
    "A spreadsheet turned this CIN into a rounded number; format the column as text.",
    echo=False,
)
_NPI_NUMBER = Fault(
    "npi-scientific",
    "A spreadsheet turned this NPI into a rounded number; format the column as text.",
)
_NPI_FORM = Fault("npi-form", "An NPI has ten digits.")
_NPI_CHECK = Fault("npi-check-digit", "This NPI's check digit is wrong; a digit was mistyped.")
_TIN_FORM = Fault("tin-form", "A tax number has nine digits, like 12-3456789.")
_DATE_FORM = Fault("date-form", "This is no date in a form that the layout knows.")
_HCPCS_FORM = Fault("hcpcs-form", "A HCPCS code is a letter and four digits, like H0043.")
_MODIFIER_FORM = Fault("modifier-form", "Modifiers are two characters each, like U6 or U6,GQ.")


def read_cin(text: str) -> tuple[str, str] | Fault:
    """The nine-character CIN, and a flag (`cin-from-card`, `cin-unusual-letter`) or "".

    Takes the CIN alone, with its check digit, or the 14 characters of a benefits card.
    """
    squeezed = text.replace(" ", "").replace("-", "").upper()
    match = _CIN.fullmatch(squeezed)
    if match is None:
        if _NINE_DIGITS.search(squeezed):
            return _CIN_DIGITS
        return _CIN_NUMBER if _SCIENTIFIC.fullmatch(squeezed) else _CIN_FORM
    cin = match[1]
    if cin[-1] in _UNUSUAL_CIN_LETTERS:
        return cin, "cin-unusual-letter"
    return cin, "" if len(squeezed) == 9 else "cin-from-card"


@lru_cache(maxsize=4096)
def read_npi(text: str) -> str | Fault:
    """The ten digits of an NPI with a right check digit (Luhn over 80840 and the number)."""
    squeezed = text.replace(" ", "").replace("-", "")
    if not _TEN_DIGITS.fullmatch(squeezed):
        return _NPI_NUMBER if _SCIENTIFIC.fullmatch(squeezed) else _NPI_FORM
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in squeezed[::2])
    total = 24 + doubled + sum(int(digit) for digit in squeezed[1::2])  # 24: the prefix 80840
    return squeezed if total % 10 == 0 else _NPI_CHECK


@lru_cache(maxsize=4096)
def read_tin(text: str) -> str | Fault:
    """The nine digits of a tax number, or "" where a placeholder such as 000000001 stands."""
    squeezed = text.replace(" ", "")
    if _NO_TAX_NUMBER.fullmatch(squeezed):
        return ""
    if not _TAX_NUMBER.fullmatch(squeezed):
        return _TIN_FORM
    return squeezed.replace("-", "")


@lru_cache(maxsize=16384)
def read_date(text: str, forms: tuple[DateForm, ...]) -> date | Fault:
    """The date, in the first of these forms that fits. A time of day of midnight is let pass."""
    day = _MIDNIGHT.sub("", text)
    for form in forms:
        pattern, build = _DATE_READERS[form]
        match = pattern.fullmatch(day)
        if match is not None:
            try:
                return build(match)
            except (ValueError, OverflowError):
                return _DATE_FORM
    return _DATE_FORM


@lru_cache(maxsize=4096)
def read_billing_code(code: str, modifiers: str) -> BillingCode | Fault:
    """A HCPCS code with its modifiers, sorted; they may stand in its own cell, in another, or both.

    Reads `H0043U6`, `H0043-U6`, `h0043 u6 gq` and, in the second cell, `U6,GQ`.
    """
    match = _BILLING.fullmatch(code.strip().upper())
    if match is None:
        return _HCPCS_FORM
    found: set[str] = set()
    for token in _BETWEEN_MODIFIERS.split(f"{match[2] or ''} {modifiers.upper()}"):
        if not _MODIFIERS.fullmatch(token):
            return _MODIFIER_FORM
        found.update(token[i : i + 2] for i in range(0, len(token), 2))
    return BillingCode(match[1], tuple(sorted(found)))


def _month_first(match: re.Match[str]) -> date:
    return date(int(match[3]), int(match[1]), int(match[2]))


def _short_year(match: re.Match[str]) -> date:
    # Closed-loop data begin in 2025, so two digits can only mean this century.
    return date(2000 + int(match[3]), int(match[1]), int(match[2]))


def _year_first(match: re.Match[str]) -> date:
    return date(int(match[1]), int(match[2]), int(match[3]))


def _excel_serial(match: re.Match[str]) -> date:
    return _EXCEL_ORIGIN + timedelta(days=int(match[1]))


_DATE_READERS: Mapping[DateForm, tuple[re.Pattern[str], Callable[[re.Match[str]], date]]] = {
    "MM/DD/YYYY": (re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})", re.ASCII), _month_first),
    "M/D/YY": (re.compile(r"(\d{1,2})/(\d{1,2})/(\d{2})", re.ASCII), _short_year),
    "MM-DD-YYYY": (re.compile(r"(\d{1,2})-(\d{1,2})-(\d{4})", re.ASCII), _month_first),
    "YYYY-MM-DD": (re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})", re.ASCII), _year_first),
    "YYYYMMDD": (re.compile(r"(\d{4})(\d{2})(\d{2})", re.ASCII), _year_first),
    "excel-serial": (re.compile(r"([1-9]\d{4})(?:\.0+)?", re.ASCII), _excel_serial),
}
