"""The standard's mechanics: FHIR R4 4.0.1 as JSON values, pure, knowing nothing of referrals.

Resources travel as parsed JSON. R4 is written by us as it stands; the R4B classes of
`fhir.resources` (the library has no R4) are the typed form and, for now, the judge of bodies.
"""
