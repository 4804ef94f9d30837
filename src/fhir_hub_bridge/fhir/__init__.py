"""The standard's mechanics: FHIR R4 4.0.1 as JSON values, pure, knowing nothing of referrals.

Resources travel as parsed JSON, and R4's own definitions (`definitions`) judge them. The R4B
classes of `fhir.resources` (the library has no R4) are a typed form for library users, no more.
"""
