"""Made-up people, partners and referrals, the same for the same seed; nobody here is real.

`people` makes members and NPIs, `partners` names the demo's organisations, `story` is its cast
and what becomes of each referral, `bundle` and `rtf` say it in FHIR and in files.
"""

from fhir_hub_bridge.sandbox.synthetic.bundle import referral_bundle
from fhir_hub_bridge.sandbox.synthetic.partners import PARTNERS, Partner
from fhir_hub_bridge.sandbox.synthetic.people import Member, is_npi, members, npi
from fhir_hub_bridge.sandbox.synthetic.rtf import rtf_row, rtf_rows, stray_rows
from fhir_hub_bridge.sandbox.synthetic.story import CastEntry, Report, cast, plan_script

__all__ = [
    "PARTNERS",
    "CastEntry",
    "Member",
    "Partner",
    "Report",
    "cast",
    "is_npi",
    "members",
    "npi",
    "plan_script",
    "referral_bundle",
    "rtf_row",
    "rtf_rows",
    "stray_rows",
]
