"""The translator: pure, and the only place that speaks both the program's words and FHIR's."""
