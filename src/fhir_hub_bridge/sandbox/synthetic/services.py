"""What the pretend partners call the services: a label and a HCPCS code with its modifier.

Names as in DHCS's Community Supports policy guide, codes as in its HCPCS coding guidance.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Service:
    """One service; no HCPCS code where the pretend partners send none."""

    label: str
    hcpcs: str = ""
    modifiers: str = ""


SERVICES = {
    "ecm": Service("Enhanced Care Management", "G9012", "U2"),
    "housing-transition-navigation": Service(
        "Housing Transition Navigation Services", "H0043", "U6"
    ),
    "housing-deposits": Service("Housing Deposits", "H0044", "U2"),
    "housing-tenancy-sustaining": Service("Housing Tenancy and Sustaining Services", "T2040", "U6"),
    "day-habilitation": Service("Day Habilitation Programs", "T2012", "U6"),
    "recuperative-care": Service("Recuperative Care (Medical Respite)", "T2033", "U6"),
    "short-term-post-hospitalization-housing": Service(
        "Short-Term Post-Hospitalization Housing", "H0043", "U3"
    ),
    "transitional-rent": Service("Transitional Rent", "H0040", "U1"),
    "respite-services": Service("Respite Services", "S5151", "U6"),
    "assisted-living-transitions": Service(
        "Assisted Living Facility (ALF) Transitions", "T2038", "U4"
    ),
    "community-or-home-transition": Service("Community or Home Transition Services", "T2038", "U5"),
    "personal-care-homemaker": Service("Personal Care and Homemaker Services", "S5130", "U6"),
    "environmental-accessibility-adaptations": Service(
        "Environmental Accessibility Adaptations (Home Modifications)", "S5165", "U6"
    ),
    "medically-tailored-meals": Service(
        "Medically Tailored Meals / Medically-Supportive Food", "S5170", "U6"
    ),
    "sobering-centers": Service("Sobering Centers", "H0014", "U6"),
    "asthma-remediation": Service("Asthma Remediation", "S5165", "U5"),
    "community-health-worker": Service("Community Health Worker (CHW) Services"),
    "doula": Service("Doula Services"),
}
