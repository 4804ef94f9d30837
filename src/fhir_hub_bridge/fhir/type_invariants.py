"""R4's invariants of its data types that no schema can say: one function each, named by its key.

Each takes the element it is about and the resource around it, and says whether the invariant
holds. Where FHIRPath says neither, as of 2026 <= 2026-02, it holds. After: `inspection`.
https://hl7.org/fhir/R4/conformance-rules.html#constraints
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.fhir.elements import has, has_choice, is_surely_after

Invariant: TypeAlias = Callable[[Json, Json], bool]

_UCUM: Final = "http://unitsofmeasure.org"


def _age_1(age: Json, _: Json) -> bool:
    return (
        _has_unit_of(age, _UCUM)
        and (has(age, "code") or not has(age, "value"))
        and ("value" not in age or age["value"] > 0)
    )


def _att_1(attachment: Json, _: Json) -> bool:
    return not has(attachment, "data") or has(attachment, "contentType")


def _cnt_3(count: Json, _: Json) -> bool:
    return (
        _has_unit_of(count, _UCUM)
        and (has(count, "code") or not has(count, "value"))
        and (not has(count, "code") or count.get("code") == "1")
        and ("value" not in count or "." not in str(count["value"]))
    )


def _cpt_2(contact: Json, _: Json) -> bool:
    return not has(contact, "value") or has(contact, "system")


def _dis_1(distance: Json, _: Json) -> bool:
    return _has_unit_of(distance, _UCUM) and (has(distance, "code") or not has(distance, "value"))


def _drq(code_filter: Json, _: Json) -> bool:
    return has(code_filter, "path") != has(code_filter, "searchParam")


def _drt_1(duration: Json, _: Json) -> bool:
    is_whole = duration.get("system") == _UCUM and has(duration, "value")
    return is_whole or not has(duration, "code")


def _exp_1(expression: Json, _: Json) -> bool:
    return has(expression, "expression") or has(expression, "reference")


def _per_1(period: Json, _: Json) -> bool:
    start, end = period.get("start"), period.get("end")
    return start is None or end is None or not is_surely_after(start, end)


def _qty_3(quantity: Json, _: Json) -> bool:
    return not has(quantity, "code") or has(quantity, "system")


def _rat_1(ratio: Json, _: Json) -> bool:
    above, below = "numerator" in ratio, "denominator" in ratio
    return above == below and (above or "extension" in ratio)


def _rng_2(value_range: Json, _: Json) -> bool:
    low, high = value_range.get("low"), value_range.get("high")
    if low is None or high is None or not {"value"} <= low.keys() & high.keys():
        return True
    alike = all(low.get(name) == high.get(name) for name in ("system", "code", "unit"))
    return not alike or low["value"] <= high["value"]


def _tim_1(repeat: Json, _: Json) -> bool:
    return not has(repeat, "duration") or has(repeat, "durationUnit")


def _tim_2(repeat: Json, _: Json) -> bool:
    return not has(repeat, "period") or has(repeat, "periodUnit")


def _tim_4(repeat: Json, _: Json) -> bool:
    return bool(repeat.get("duration", 0) >= 0)


def _tim_5(repeat: Json, _: Json) -> bool:
    return bool(repeat.get("period", 0) >= 0)


def _tim_6(repeat: Json, _: Json) -> bool:
    return not has(repeat, "periodMax") or has(repeat, "period")


def _tim_7(repeat: Json, _: Json) -> bool:
    return not has(repeat, "durationMax") or has(repeat, "duration")


def _tim_8(repeat: Json, _: Json) -> bool:
    return not has(repeat, "countMax") or has(repeat, "count")


def _tim_9(repeat: Json, _: Json) -> bool:
    if not has(repeat, "offset"):
        return True
    return has(repeat, "when") and {"C", "CM", "CD", "CV"}.isdisjoint(repeat.get("when", ()))


def _tim_10(repeat: Json, _: Json) -> bool:
    return not has(repeat, "timeOfDay") or not has(repeat, "when")


def _trd_1(trigger: Json, _: Json) -> bool:
    return "data" not in trigger or not has_choice(trigger, "timing")


def _trd_2(trigger: Json, _: Json) -> bool:
    return "condition" not in trigger or "data" in trigger


def _trd_3(trigger: Json, _: Json) -> bool:
    match trigger.get("type", ""):
        case "named-event":
            return has(trigger, "name")
        case "periodic":
            return has_choice(trigger, "timing")
        case kind:
            return not kind.startswith("data-") or "data" in trigger


def _has_unit_of(quantity: Json, system: str) -> bool:
    return not has(quantity, "system") or quantity.get("system") == system


TYPE_INVARIANTS: Final[Mapping[str, Mapping[str, Invariant]]] = MappingProxyType(
    {
        "Age": {"age-1": _age_1},
        "Attachment": {"att-1": _att_1},
        "ContactPoint": {"cpt-2": _cpt_2},
        "Count": {"cnt-3": _cnt_3},
        "DataRequirement.codeFilter": {"drq-1": _drq},
        "DataRequirement.dateFilter": {"drq-2": _drq},
        "Distance": {"dis-1": _dis_1},
        "Duration": {"drt-1": _drt_1},
        "Expression": {"exp-1": _exp_1},
        "Period": {"per-1": _per_1},
        "Quantity": {"qty-3": _qty_3},
        "Range": {"rng-2": _rng_2},
        "Ratio": {"rat-1": _rat_1},
        "Timing.repeat": {
            "tim-1": _tim_1,
            "tim-2": _tim_2,
            "tim-4": _tim_4,
            "tim-5": _tim_5,
            "tim-6": _tim_6,
            "tim-7": _tim_7,
            "tim-8": _tim_8,
            "tim-9": _tim_9,
            "tim-10": _tim_10,
        },
        "TriggerDefinition": {"trd-1": _trd_1, "trd-2": _trd_2, "trd-3": _trd_3},
    }
)
"""Type, or path within it -> key -> invariant."""
