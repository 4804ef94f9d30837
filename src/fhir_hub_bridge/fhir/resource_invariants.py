"""R4's invariants of the resources that no schema can say: one function each, named by its key.

They are as those of `type_invariants`. After: `inspection`. Conformance resources (CodeSystem,
StructureDefinition and their like) are left to FHIRPath. https://hl7.org/fhir/R4/resourcelist.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.elements import (
    codes_in,
    contained,
    has,
    has_choice,
    is_surely_after,
    strings_in,
)
from fhir_hub_bridge.fhir.type_invariants import Invariant

_CLINICAL: Final = "http://terminology.hl7.org/CodeSystem/condition-clinical"
_VERIFICATION: Final = "http://terminology.hl7.org/CodeSystem/condition-ver-status"


def _dom_2(resource: Json, _: Json) -> bool:
    return not any("contained" in inner for inner in resource.get("contained", ()))


def _dom_3(resource: Json, _: Json) -> bool:
    if "contained" not in resource:
        return True
    links = {text for text in strings_in(resource) if text.startswith("#")}
    return all(
        f"#{inner.get('id')}" in links or "#" in strings_in(inner)
        for inner in resource["contained"]
    )


def _dom_4(resource: Json, _: Json) -> bool:
    metas = (inner.get("meta", {}) for inner in resource.get("contained", ()))
    return not any(has(meta, "versionId") or has(meta, "lastUpdated") for meta in metas)


def _dom_5(resource: Json, _: Json) -> bool:
    return not any("security" in inner.get("meta", {}) for inner in resource.get("contained", ()))


def _con_1(stage: Json, _: Json) -> bool:
    return "summary" in stage or "assessment" in stage


def _con_2(evidence: Json, _: Json) -> bool:
    return "code" in evidence or "detail" in evidence


def _con_4(condition: Json, _: Json) -> bool:
    ended = {"resolved", "remission", "inactive"}
    is_over = not ended.isdisjoint(codes_in(condition.get("clinicalStatus"), _CLINICAL))
    return is_over or not has_choice(condition, "abatement")


def _con_5(condition: Json, _: Json) -> bool:
    is_error = "entered-in-error" in codes_in(condition.get("verificationStatus"), _VERIFICATION)
    return not is_error or "clinicalStatus" not in condition


def _cmp_1(section: Json, _: Json) -> bool:
    return not {"text", "entry", "section"}.isdisjoint(section)


def _cmp_2(section: Json, _: Json) -> bool:
    return "emptyReason" not in section or "entry" not in section


def _cpl_3(activity: Json, _: Json) -> bool:
    return "detail" not in activity or "reference" not in activity


def _ctm_1(participant: Json, resource: Json) -> bool:
    text = participant.get("member", {}).get("reference", "")
    if "onBehalfOf" not in participant or not text.startswith("#"):
        return True
    member = contained(resource, text[1:])
    return member is None or member.get("resourceType") == "Practitioner"


def _gol_1(target: Json, _: Json) -> bool:
    return "measure" in target or not has_choice(target, "detail")


def _grp_1(group: Json, _: Json) -> bool:
    return "member" not in group or group.get("actual") is True


def _inv_1_of_parameter(parameter: Json, _: Json) -> bool:
    ways = ("part" in parameter, has_choice(parameter, "value"), "resource" in parameter)
    return ways.count(True) == 1


def _inv_1_of_task(task: Json, _: Json) -> bool:
    authored, modified = task.get("authoredOn"), task.get("lastModified")
    return authored is None or modified is None or not is_surely_after(authored, modified)


def _lst_1(listing: Json, _: Json) -> bool:
    return "emptyReason" not in listing or "entry" not in listing


def _lst_2(listing: Json, _: Json) -> bool:
    entries = listing.get("entry", ())
    return listing.get("mode") == "changes" or not any(has(entry, "deleted") for entry in entries)


def _lst_3(listing: Json, _: Json) -> bool:
    entries = listing.get("entry", ())
    return listing.get("mode") == "working" or not any(has(entry, "date") for entry in entries)


def _obs_3(reference_range: Json, _: Json) -> bool:
    return "low" in reference_range or "high" in reference_range or has(reference_range, "text")


def _obs_6(observation: Json, _: Json) -> bool:
    return "dataAbsentReason" not in observation or not has_choice(observation, "value")


def _obs_7(observation: Json, _: Json) -> bool:
    if "component" not in observation or not has_choice(observation, "value"):
        return True
    own = observation.get("code", {}).get("coding", ())
    parts = (component.get("code", {}) for component in observation["component"])
    return not any(coding in own for part in parts for coding in part.get("coding", ()))


def _org_1(organization: Json, _: Json) -> bool:
    return "identifier" in organization or has(organization, "name")


def _org_2_or_3(contact: Json, _: Json) -> bool:
    return contact.get("use") != "home"


def _pat_1(contact: Json, _: Json) -> bool:
    return not {"name", "telecom", "address", "organization"}.isdisjoint(contact)


def _ppc_1(consent: Json, _: Json) -> bool:
    return "policy" in consent or "policyRule" in consent


def _prr_1(request: Json, _: Json) -> bool:
    return "orderDetail" not in request or "code" in request


def _qrs_1(item: Json, _: Json) -> bool:
    return "answer" not in item or "item" not in item


def _sev_1(entity: Json, _: Json) -> bool:
    return not has(entity, "name") or not has(entity, "query")


_WITH_REQUEST: Final = frozenset({"batch", "transaction", "history"})
_WITH_RESPONSE: Final = frozenset({"batch-response", "transaction-response", "history"})


def _bdl_1(bundle: Json, _: Json) -> bool:
    return not has(bundle, "total") or bundle.get("type") in ("searchset", "history")


def _bdl_2(entry: Json, bundle: Json) -> bool:
    return "search" not in entry or bundle.get("type") == "searchset"


def _bdl_3(entry: Json, bundle: Json) -> bool:
    return ("request" in entry) == (bundle.get("type") in _WITH_REQUEST)


def _bdl_4(entry: Json, bundle: Json) -> bool:
    return ("response" in entry) == (bundle.get("type") in _WITH_RESPONSE)


def _bdl_5(entry: Json, _: Json) -> bool:
    return not {"resource", "request", "response"}.isdisjoint(entry)


def _bdl_7(bundle: Json, _: Json) -> bool:
    if bundle.get("type") == "history":
        return True
    names = [
        (entry["fullUrl"], entry.get("resource", {}).get("meta", {}).get("versionId"))
        for entry in bundle.get("entry", ())
        if "fullUrl" in entry
    ]
    return len(names) == len({*names})


def _bdl_8(entry: Json, _: Json) -> bool:
    return "/_history/" not in entry.get("fullUrl", "")


def _bdl_9(bundle: Json, _: Json) -> bool:
    identifier = bundle.get("identifier", {})
    is_identified = has(identifier, "system") and has(identifier, "value")
    return is_identified or bundle.get("type") != "document"


def _bdl_10(bundle: Json, _: Json) -> bool:
    return "timestamp" in bundle or bundle.get("type") != "document"


def _bdl_11(bundle: Json, _: Json) -> bool:
    return bundle.get("type") != "document" or _first_type(bundle) == "Composition"


def _bdl_12(bundle: Json, _: Json) -> bool:
    return bundle.get("type") != "message" or _first_type(bundle) == "MessageHeader"


def _first_type(bundle: Json) -> Any:
    entries = bundle.get("entry") or [{}]
    return entries[0].get("resource", {}).get("resourceType")


def _que_1(item: Json, _: Json) -> bool:
    match item.get("type"):
        case "group":
            return "item" in item
        case "display":
            return "item" not in item
    return True


def _que_2(questionnaire: Json, _: Json) -> bool:
    links = [*_link_ids(questionnaire)]
    return len(links) == len({*links})


def _link_ids(element: Json) -> Iterator[Any]:
    for item in element.get("item", ()):
        if "linkId" in item:
            yield item["linkId"]
        yield from _link_ids(item)


def _que_3(item: Json, _: Json) -> bool:
    return item.get("type") != "display" or "code" not in item


def _que_4(item: Json, _: Json) -> bool:
    return "answerOption" not in item or not has(item, "answerValueSet")


_WITH_ANSWERS: Final = frozenset(
    {
        *("choice", "open-choice", "decimal", "integer", "date", "dateTime", "time", "string"),
        "quantity",
    }
)


def _que_5(item: Json, _: Json) -> bool:
    has_answers = "answerOption" in item or has(item, "answerValueSet")
    return item.get("type") in _WITH_ANSWERS or not has_answers


def _que_6(item: Json, _: Json) -> bool:
    return item.get("type") != "display" or not (has(item, "required") or has(item, "repeats"))


def _que_7(condition: Json, _: Json) -> bool:
    return condition.get("operator") != "exists" or has(condition, "answerBoolean")


def _que_8(item: Json, _: Json) -> bool:
    return item.get("type") not in ("group", "display") or "initial" not in item


def _que_9(item: Json, _: Json) -> bool:
    return item.get("type") != "display" or not has(item, "readOnly")


_WITH_LENGTH: Final = frozenset(
    {"boolean", "decimal", "integer", "string", "text", "url", "open-choice"}
)


def _que_10(item: Json, _: Json) -> bool:
    return item.get("type") in _WITH_LENGTH or not has(item, "maxLength")


def _que_11(item: Json, _: Json) -> bool:
    return "answerOption" not in item or "initial" not in item


def _que_12(item: Json, _: Json) -> bool:
    return len(item.get("enableWhen", ())) <= 2 or has(item, "enableBehavior")


def _que_13(item: Json, _: Json) -> bool:
    return item.get("repeats") is True or len(item.get("initial", ())) <= 1


RESOURCE_INVARIANTS: Final[Mapping[str, Mapping[str, Invariant]]] = MappingProxyType(
    {
        "DomainResource": {"dom-2": _dom_2, "dom-3": _dom_3, "dom-4": _dom_4, "dom-5": _dom_5},
        "AuditEvent.entity": {"sev-1": _sev_1},
        "Bundle": {
            "bdl-1": _bdl_1,
            "bdl-7": _bdl_7,
            "bdl-9": _bdl_9,
            "bdl-10": _bdl_10,
            "bdl-11": _bdl_11,
            "bdl-12": _bdl_12,
        },
        # R4 says the first three of the Bundle; told of the entry, a sender finds the fault.
        "Bundle.entry": {
            "bdl-2": _bdl_2,
            "bdl-3": _bdl_3,
            "bdl-4": _bdl_4,
            "bdl-5": _bdl_5,
            "bdl-8": _bdl_8,
        },
        "CarePlan.activity": {"cpl-3": _cpl_3},
        "CareTeam.participant": {"ctm-1": _ctm_1},
        "Composition.section": {"cmp-1": _cmp_1, "cmp-2": _cmp_2},
        "Condition": {"con-4": _con_4, "con-5": _con_5},
        "Condition.stage": {"con-1": _con_1},
        "Condition.evidence": {"con-2": _con_2},
        "Consent": {"ppc-1": _ppc_1},
        "Goal.target": {"gol-1": _gol_1},
        "Group": {"grp-1": _grp_1},
        "List": {"lst-1": _lst_1, "lst-2": _lst_2, "lst-3": _lst_3},
        "Observation": {"obs-6": _obs_6, "obs-7": _obs_7},
        "Observation.referenceRange": {"obs-3": _obs_3},
        "Organization": {"org-1": _org_1},
        "Organization.telecom": {"org-3": _org_2_or_3},
        "Organization.address": {"org-2": _org_2_or_3},
        "Parameters.parameter": {"inv-1": _inv_1_of_parameter},
        "Patient.contact": {"pat-1": _pat_1},
        "Questionnaire": {"que-2": _que_2},
        "Questionnaire.item": {
            "que-1": _que_1,
            "que-3": _que_3,
            "que-4": _que_4,
            "que-5": _que_5,
            "que-6": _que_6,
            "que-8": _que_8,
            "que-9": _que_9,
            "que-10": _que_10,
            "que-11": _que_11,
            "que-12": _que_12,
            "que-13": _que_13,
        },
        "Questionnaire.item.enableWhen": {"que-7": _que_7},
        "QuestionnaireResponse.item": {"qrs-1": _qrs_1},
        "ServiceRequest": {"prr-1": _prr_1},
        "Task": {"inv-1": _inv_1_of_task},
    }
)
"""Type, or path within it -> key -> invariant."""
