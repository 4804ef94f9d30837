"""Members and NPIs that are obviously made up yet have the right form.

CIN: `9`, seven digits, a letter (B I J K L O P Q R S are never used). NPI: ten digits, the last
the Luhn check digit over `80840` and the rest.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta

_FAMILIES = (
    "Alfa", "Bravo", "Charlie", "Delta", "Echo", "Foxtrot", "Golf", "Hotel", "India", "Juliett",
    "Kilo", "Lima", "Mike", "November", "Oscar", "Papa", "Quebec", "Romeo", "Sierra", "Tango",
    "Uniform", "Víctor", "Whisky", "Xray", "Yánkee", "Zulú",
)  # fmt: skip
_GIVEN = (
    "Test", "Demo", "Exemplo", "Prueba", "Muestra", "Ejémplo", "Sample", "Mock", "Próba", "Essai",
)  # fmt: skip
_CITIES = (("Sacramento", "95814"), ("Fresno", "93721"), ("Oakland", "94612"), ("Chico", "95928"))
_CIN_LETTERS = "ACDEFGHMNTUVWXYZ"
# A block at the very end of the numbers, so that no made-up NPI is somebody's.
_NPI_BLOCK = "1999"


@dataclass(frozen=True, slots=True)
class Member:
    """A made-up person with Medi-Cal."""

    cin: str
    family: str
    given: str
    gender: str
    birth_on: date
    phone: str
    street: str
    city: str
    postal_code: str
    state: str = "CA"
    is_homeless: bool = False


def members(seed: int, *, count: int, today: date) -> list[Member]:
    """This many members, no two with one CIN or one name; adults on `today`."""
    dice = random.Random(seed)
    names = [(given, family) for family in _FAMILIES for given in _GIVEN]
    cins: dict[str, None] = {}
    while len(cins) < count:
        cins[f"9{dice.randrange(10**7):07d}{dice.choice(_CIN_LETTERS)}"] = None
    return [
        _member(dice, cin=cin, name=name, today=today)
        for cin, name in zip(cins, dice.sample(names, count), strict=True)
    ]


def npi(dice: random.Random) -> str:
    """A made-up NPI with a right check digit."""
    # The lowest of the block are the partners'.
    nine = f"{_NPI_BLOCK}{dice.randrange(100, 10**5):05d}"
    return nine + npi_check_digit(nine)


def npi_check_digit(nine: str) -> str:
    """The tenth digit of an NPI that starts with these nine."""
    doubled = [
        int(digit) * 2 if place % 2 == 0 else int(digit)
        for place, digit in enumerate(reversed(f"80840{nine}"))
    ]
    total = sum(number - 9 if number > 9 else number for number in doubled)
    return str(-total % 10)


def is_npi(text: str) -> bool:
    """Whether the text has an NPI's form and check digit."""
    return len(text) == 10 and text.isdecimal() and npi_check_digit(text[:9]) == text[9]


def _member(dice: random.Random, *, cin: str, name: tuple[str, str], today: date) -> Member:
    given, family = name
    city, postal_code = dice.choice(_CITIES)
    return Member(
        cin=cin,
        family=family,
        given=given,
        gender=dice.choice(("female", "male", "other")),
        birth_on=today - timedelta(days=dice.randrange(22 * 366, 80 * 365)),
        phone=f"(916) 555-01{dice.randrange(100):02d}",
        street=f"{dice.randrange(1, 999)} Test St",
        city=city,
        postal_code=postal_code,
        is_homeless=dice.random() < 0.3,
    )
