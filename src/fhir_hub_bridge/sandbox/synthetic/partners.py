"""The demo's organisations: made-up names, NPIs and tax numbers of the right form.

They are the same whatever the seed, since a bridge knows its partners before anything happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fhir_hub_bridge.sandbox.synthetic.people import npi_check_digit

Kind = Literal["managed-care-plan", "referring-entity", "hub", "provider"]


@dataclass(frozen=True, slots=True)
class Partner:
    """One organisation; `plan_code` is what files call a plan."""

    id: str
    name: str
    kind: Kind
    npi: str
    tin: str
    phone: str
    plan_code: str = ""


def _partner(number: int, id_: str, name: str, kind: Kind, plan_code: str = "") -> Partner:
    nine = f"19990000{number}"
    return Partner(
        id=id_,
        name=name,
        kind=kind,
        npi=nine + npi_check_digit(nine),
        tin=f"99-990000{number}",
        phone=f"(916) 555-010{number}",
        plan_code=plan_code,
    )


PARTNERS = {
    partner.id: partner
    for partner in (
        _partner(1, "golden-plan", "Golden Test Health Plan", "managed-care-plan", "GOLD01"),
        _partner(2, "river-clinic", "River Test Clinic", "referring-entity"),
        _partner(3, "valley-county", "Valley Test County", "referring-entity"),
        _partner(4, "late-start-clinic", "Late Start Test Clinic", "referring-entity"),
        _partner(5, "bridgeway-hub", "Bridgeway Test Hub", "hub"),
        _partner(6, "harbor-ecm", "Harbor Test Care Management", "provider"),
        _partner(7, "hearth-homes", "Hearth Test Homes", "provider"),
        _partner(8, "kitchen-table-meals", "Kitchen Table Test Meals", "provider"),
    )
}

# Refers members, is known to nobody: no agreement, so nobody can be told without a person's help.
UNREGISTERED = _partner(9, "walk-in-clinic", "Walk-in Test Clinic", "referring-entity")
