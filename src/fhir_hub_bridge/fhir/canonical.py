"""The names by which the world knows things: our one canonical base, and the standard's systems.

Every URL of ours starts with `BASE`, a reserved `.example` name, and is written here only.
Standard ones are those of FHIR R4, THO, CMS and SDOH Clinical Care 3.0.0.
"""

from __future__ import annotations

from typing import Final

BASE: Final = "https://fhir-hub-bridge.example/fhir"

# Ours: code systems.
REFERRAL_STATUS: Final = f"{BASE}/CodeSystem/clr-referral-status"
CLOSURE_REASON: Final = f"{BASE}/CodeSystem/clr-closure-reason"
AUTHORIZATION_STATUS: Final = f"{BASE}/CodeSystem/clr-authorization-status"
AUTHORIZATION_BASIS: Final = f"{BASE}/CodeSystem/clr-authorization-basis"
POPULATION_OF_FOCUS: Final = f"{BASE}/CodeSystem/clr-population-of-focus"
NOTICE_TYPE: Final = f"{BASE}/CodeSystem/clr-notice-type"
OUTPUT_TYPE: Final = f"{BASE}/CodeSystem/clr-output-type"
SERVICE: Final = f"{BASE}/CodeSystem/clr-service"
REFERRAL_SOURCE: Final = f"{BASE}/CodeSystem/clr-referral-source"
RULE: Final = f"{BASE}/CodeSystem/rule"
TAG: Final = f"{BASE}/CodeSystem/clr-tag"

TAG_INFERRED: Final = "inferred"
TAG_LATE: Final = "late"

# Ours: identifiers.
REFERRAL_ID: Final = f"{BASE}/id/referral"
PATIENT_ID: Final = f"{BASE}/id/patient"
NOTICE_ID: Final = f"{BASE}/id/notice"
CLR_ID: Final = f"{BASE}/id/clr"
# A project default: the CIN has no system of its own that our sources know of.
MEDI_CAL_CIN: Final = f"{BASE}/NamingSystem/medi-cal-cin"

# Ours: extensions.
AUTHORIZATION_BASIS_EXTENSION: Final = f"{BASE}/StructureDefinition/authorization-basis"
AUTHORIZATION_REASON_EXTENSION: Final = f"{BASE}/StructureDefinition/authorization-reason"
STATUS_DATE_EXTENSION: Final = f"{BASE}/StructureDefinition/clr-status-date"
HCPCS_MODIFIER_EXTENSION: Final = f"{BASE}/StructureDefinition/hcpcs-modifier"
POPULATION_OF_FOCUS_EXTENSION: Final = f"{BASE}/StructureDefinition/population-of-focus"
NOTICE_CONTENT_EXTENSION: Final = f"{BASE}/StructureDefinition/notice-content"
REFERRAL_SOURCE_EXTENSION: Final = f"{BASE}/StructureDefinition/referral-source"

# Codes and identifiers of others.
HCPCS: Final = "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets"
NPI: Final = "http://hl7.org/fhir/sid/us-npi"
TIN: Final = "urn:oid:2.16.840.1.113883.4.4"
TASK_CODE: Final = "http://hl7.org/fhir/CodeSystem/task-code"
ORGANIZATION_TYPE: Final = "http://terminology.hl7.org/CodeSystem/organization-type"
CLAIM_TYPE: Final = "http://terminology.hl7.org/CodeSystem/claim-type"
PARTICIPANT_TYPE: Final = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
US_CORE_CATEGORY: Final = "http://hl7.org/fhir/us/core/CodeSystem/us-core-category"
TASK_STATUS: Final = "http://hl7.org/fhir/task-status"
REQUEST_STATUS: Final = "http://hl7.org/fhir/request-status"
IDENTIFIER_TYPE: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
PARTICIPATION_MODE: Final = "http://terminology.hl7.org/CodeSystem/v3-ParticipationMode"

# SDOH Clinical Care 3.0.0.
SDOHCC: Final = "http://hl7.org/fhir/us/sdoh-clinicalcare"
SDOHCC_TASK_PROFILE: Final = f"{SDOHCC}/StructureDefinition/SDOHCC-TaskForReferralManagement"
SDOHCC_SERVICE_REQUEST_PROFILE: Final = f"{SDOHCC}/StructureDefinition/SDOHCC-ServiceRequest"
SDOHCC_TEMPORARY_CODES: Final = f"{SDOHCC}/CodeSystem/SDOHCC-CodeSystemTemporaryCodes"
