"""Reads the program's rulebook: the tables of `mappings/codes/`, and `programs/calaim.toml`.

Each row keeps its source and confidence. What must be complete is checked here: every notice type
has a rule, every rule of not telling is there, codes that point at each other exist. Beside:
`holiday_table`. After: `catalog`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import get_args

from fhir_hub_bridge.mapping.data_files import MappingFolder, Settings, TableRow
from fhir_hub_bridge.mapping.holiday_table import read_calendar
from fhir_hub_bridge.referral.deadlines import DueUnit
from fhir_hub_bridge.referral.model import NoticeType
from fhir_hub_bridge.referral.rulebook import (
    AuthorizationStatus,
    BillingCode,
    ClosureReason,
    NoticeRule,
    Rulebook,
    Service,
    Suppression,
)

SERVICES = "codes/services.csv"
SERVICE_CODES = "codes/service-codes.csv"
POPULATIONS = "codes/populations-of-focus.csv"
STATUSES = "codes/authorization-status.csv"
BASES = "codes/authorization-basis.csv"
REASONS = "codes/closure-reason.csv"
PROGRAM = "programs/calaim.toml"

# The rules that `referral.notices` asks for by name.
SUPPRESSIONS = (
    "outside-clr",
    "self-referral",
    "referrer-unknown",
    "plan-internal",
    "referrer-is-provider",
    "told-elsewhere",
    "not-agreed",
    "before-go-live",
    "no-agreement",
)

_CITED = ("source", "confidence")
_SERVICE_COLUMNS = ("code", "label", "program", "clr_from", "clr_to", "sdoh_category", *_CITED)
_STATUS_COLUMNS = (
    *("code", "label", "decided", "authorizes", "reason_required", "closes_with"),
    *("task_status", "valid_from", *_CITED),
)
_REASON_COLUMNS = (
    *("code", "label", "served", "provider_closes_loop", "requester_closes_loop"),
    *("text_required", "task_status", "valid_from", *_CITED),
)
_CODE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_HCPCS = re.compile(r"[A-Z]\d{4}", re.ASCII)
_MODIFIERS = re.compile(r"(?:[A-Z0-9]{2}(?: [A-Z0-9]{2})*)?")


def read_rulebook(folder: MappingFolder) -> Rulebook | None:
    """The rulebook of this folder; None where the program's file cannot be read at all."""
    program = folder.settings(PROGRAM)
    if program is None:
        return None
    program.keys("program", "title", "notice", "suppression", "calendar")
    program.text("program")
    program.text("title")
    reasons = _reasons(folder)
    calendar, table = read_calendar(program.part("calendar"))
    return Rulebook(
        services=_services(folder, read_service_codes(folder)),
        authorization_statuses=_statuses(folder, reasons),
        authorization_bases=_bases(folder),
        closure_reasons=reasons,
        notice_rules=_notice_rules(program),
        suppressions=_suppressions(program),
        populations_of_focus=_populations(folder),
        calendar=calendar,
        version=folder.version(
            (SERVICES, SERVICE_CODES, POPULATIONS, STATUSES, BASES, REASONS, PROGRAM, table)
        ),
    )


def read_service_codes(folder: MappingFolder) -> Mapping[BillingCode, tuple[str, ...]]:
    """Which services a billing code means. Only pairs marked `shared` may mean several."""
    columns = ("service", "hcpcs", "modifiers", "shared", "source", "confidence")
    services: dict[BillingCode, list[str]] = {}
    rows: dict[BillingCode, list[TableRow]] = {}
    for row in folder.table(SERVICE_CODES, columns):
        row.citation()
        if not _HCPCS.fullmatch(row.text("hcpcs")):
            row.problem("hcpcs", "A HCPCS code is a capital letter and four digits.")
        if not _MODIFIERS.fullmatch(row.optional("modifiers")):
            row.problem("modifiers", "Modifiers are two characters each, with single spaces.")
        pair = BillingCode(row.text("hcpcs"), tuple(sorted(row.optional("modifiers").split())))
        services.setdefault(pair, []).append(row.text("service"))
        rows.setdefault(pair, []).append(row)
    for pair, found in services.items():
        shared = [row.flag("shared") for row in rows[pair]]
        if len(set(found)) < len(found):
            rows[pair][-1].problem("hcpcs", "This code and its modifiers stand here twice.")
        elif len(found) > 1 and not all(shared):
            rows[pair][-1].problem(
                "shared", "Code and modifiers name several services: mark each as shared, or none."
            )
        elif len(found) == 1 and shared[0]:
            rows[pair][0].problem("shared", "No other service has this code and modifiers.")
    return {pair: tuple(found) for pair, found in services.items()}


def _services(
    folder: MappingFolder, codes: Mapping[BillingCode, tuple[str, ...]]
) -> dict[str, Service]:
    services: dict[str, Service] = {}
    for code, row in _by_code(folder.table(SERVICES, _SERVICE_COLUMNS)):
        clr_from, clr_to = row.day("clr_from"), row.day("clr_to")
        if clr_to and (clr_from is None or clr_to < clr_from):
            row.problem("clr_to", "Ends before it begins.")
        services[code] = Service(
            code=code,
            label=row.text("label"),
            program=row.choice("program", ("ecm", "community-supports", "other")),
            clr_from=clr_from,
            clr_to=clr_to,
            billing_codes=tuple(pair for pair, named in codes.items() if code in named),
            sdoh_category=row.text("sdoh_category"),
            citation=row.citation(),
        )
    for pair, named in codes.items():
        for code in named:
            if code not in services:
                folder.problem(
                    f"{SERVICE_CODES}, column service",
                    f"{pair.hcpcs} belongs to a service that {SERVICES} does not have.",
                    value=code,
                )
    return services


def _statuses(
    folder: MappingFolder, reasons: Mapping[str, ClosureReason]
) -> dict[str, AuthorizationStatus]:
    statuses = {
        code: AuthorizationStatus(
            code=code,
            label=row.text("label"),
            decided=row.flag("decided"),
            authorizes=row.flag("authorizes"),
            reason_required=row.flag("reason_required"),
            closes_with=row.choice("closes_with", ("", *reasons)),
            task_status=row.choice("task_status", ("", "accepted", "cancelled", "failed")),
            citation=row.citation(),
            valid_from=row.day("valid_from"),
        )
        for code, row in _by_code(folder.table(STATUSES, _STATUS_COLUMNS))
    }
    if statuses and not any(status.authorizes for status in statuses.values()):
        folder.problem(STATUSES, "No status authorizes anything.")
    return statuses


def _bases(folder: MappingFolder) -> dict[str, bool]:
    columns = ("code", "label", "starts_before_decision", "source", "confidence")
    bases: dict[str, bool] = {}
    for code, row in _by_code(folder.table(BASES, columns)):
        row.text("label")
        row.citation()
        bases[code] = row.flag("starts_before_decision")
    return bases


def _reasons(folder: MappingFolder) -> dict[str, ClosureReason]:
    reasons: dict[str, ClosureReason] = {}
    for code, row in _by_code(folder.table(REASONS, _REASON_COLUMNS)):
        reason = ClosureReason(
            code=code,
            label=row.text("label"),
            served=row.flag("served"),
            provider_closes_loop=row.flag("provider_closes_loop"),
            requester_closes_loop=row.flag("requester_closes_loop"),
            text_required=row.flag("text_required"),
            task_status=row.choice("task_status", ("completed", "failed", "cancelled")),
            citation=row.citation(),
            valid_from=row.day("valid_from"),
        )
        if reason.served != (reason.task_status == "completed"):
            row.problem("task_status", "A Task is completed exactly when the member was served.")
        reasons[code] = reason
    if reasons and sum(reason.requester_closes_loop for reason in reasons.values()) != 1:
        folder.problem(REASONS, "Not exactly one reason is that of a referral taken back.")
    return reasons


def _populations(folder: MappingFolder) -> dict[str, str]:
    columns = ("code", "label", "number", "source", "confidence")
    populations: dict[str, str] = {}
    for code, row in _by_code(folder.table(POPULATIONS, columns)):
        row.citation()
        populations[code] = row.text("label")
    return populations


def _notice_rules(program: Settings) -> tuple[NoticeRule, ...]:
    rules: dict[tuple[NoticeType, date], NoticeRule] = {}
    ids: set[str] = set()
    for row in program.parts("notice"):
        row.keys(
            "id", "notice", "within", "unit", "clock_starts", "valid_from", "source", "confidence"
        )
        rule = NoticeRule(
            id=row.text("id"),
            notice=NoticeType(row.choice("notice", [str(notice) for notice in NoticeType])),
            within=row.value("within", int, 1),
            unit=row.choice("unit", get_args(DueUnit)),
            clock_starts=row.choice("clock_starts", ("learned_at", "effective_at")),
            valid_from=row.day("valid_from"),
            citation=row.citation(),
        )
        if rule.within < 1:
            row.problem("within", "Must be at least 1.")
        if rule.id in ids:
            row.problem("id", "Another rule has this id.")
        if (rule.notice, rule.valid_from) in rules:
            row.problem("valid_from", "Another rule for this notice begins on the same day.")
        ids.add(rule.id)
        rules[rule.notice, rule.valid_from] = rule
    ruled = {rule.notice for rule in rules.values()}
    for notice in NoticeType:
        if notice not in ruled:
            program.problem("notice", f"No rule says by when a {notice} notice is due.")
    return tuple(rules.values())


def _suppressions(program: Settings) -> dict[str, Suppression]:
    part = program.part("suppression")
    part.keys(*SUPPRESSIONS)
    suppressions: dict[str, Suppression] = {}
    for rule in SUPPRESSIONS:
        row = part.part(rule)
        if row.values:
            row.keys("applies", "sentence", "source", "confidence")
            suppressions[rule] = Suppression(
                rule, row.value("applies", bool, True), row.text("sentence"), row.citation()
            )
    return suppressions


def _by_code(rows: Sequence[TableRow]) -> Iterable[tuple[str, TableRow]]:
    """The rows by their code; an ill-formed or second code is a problem."""
    seen: set[str] = set()
    for row in rows:
        code = row.text("code")
        if not _CODE.fullmatch(code):
            row.problem("code", "A code has lower-case letters, digits and single hyphens.")
        if code in seen:
            row.problem("code", "Another row has this code.")
        seen.add(code)
        yield code, row
