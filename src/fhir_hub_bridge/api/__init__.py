"""The FHIR door: routes, one file per interaction."""
