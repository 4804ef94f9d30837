"""FHIR Hub Bridge: closed-loop referrals in FHIR R4, with notices owed, timed and proven."""
