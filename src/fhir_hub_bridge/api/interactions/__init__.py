"""One module per FHIR interaction, named as the standard names it."""
