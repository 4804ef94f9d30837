"""Loads the mappings folder once, at start: the rulebook, the layouts, the billing codes.

All faults of all files are found in one pass, each with file and line; a folder with any fault is
not used. Before: the files of `mappings/`; after: `wiring` hands the catalog to whoever maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fhir_hub_bridge.errors import BadMapping, BadSetting, Issue
from fhir_hub_bridge.mapping.data_files import MappingFolder
from fhir_hub_bridge.mapping.holiday_table import differences_from_package
from fhir_hub_bridge.mapping.layout import Layout
from fhir_hub_bridge.mapping.layout_files import read_layout
from fhir_hub_bridge.mapping.rulebook_files import read_rulebook
from fhir_hub_bridge.referral.rulebook import BillingCode, Rulebook

_REFERRAL_SOURCES = "codes/referral-source.csv"


@dataclass(frozen=True, slots=True)
class Catalog:
    """All that the mappings folder says, checked. `version` is a SHA-256 prefix of its files."""

    rulebook: Rulebook
    layouts: Mapping[str, Layout]
    service_by_billing_code: Mapping[BillingCode, str]  # pairs that mean one service only
    referral_sources: Mapping[str, str]
    version: str
    modifiers_by_hcpcs: Mapping[str, tuple[tuple[frozenset[str], str], ...]]

    def layout(self, name: str) -> Layout:
        """The layout of this name. Raises BadSetting."""
        try:
            return self.layouts[name]
        except KeyError:
            known = ", ".join(sorted(self.layouts))
            raise BadSetting(f"No layout is called '{name}'; known are: {known}.") from None

    def services_billed_as(self, billing: BillingCode) -> frozenset[str]:
        """The services that this code means with these modifiers; others beside them are let be."""
        given = frozenset(billing.modifiers)
        return frozenset(
            service
            for modifiers, service in self.modifiers_by_hcpcs.get(billing.hcpcs, ())
            if modifiers <= given
        )

    def is_billing_code(self, hcpcs: str) -> bool:
        """Whether any service is billed with this HCPCS code, whatever its modifiers."""
        return hcpcs in self.modifiers_by_hcpcs


def load_catalog(folder: Path) -> Catalog:
    """Read and check the mappings folder. Raises BadMapping, naming every fault's file and line."""
    catalog, problems = _read(folder)
    if problems or catalog is None:
        told = "\n".join(f"{problem.place}: {problem.message}" for problem in problems)
        raise BadMapping(f"The mappings folder has {len(problems)} fault(s):\n{told}")
    return catalog


def check(folder: Path) -> list[Issue]:
    """Every fault of the mappings folder; informational ones where holidays may be out of date."""
    catalog, problems = _read(folder)
    if catalog is not None and not problems:
        problems += differences_from_package(MappingFolder(folder), catalog.rulebook.calendar)
    return problems


def _read(root: Path) -> tuple[Catalog | None, list[Issue]]:
    folder = MappingFolder(root)
    if not root.is_dir():
        folder.problem(str(root), "The mappings folder does not exist.")
        return None, folder.problems
    rulebook = read_rulebook(folder)
    if rulebook is None:
        return None, folder.problems
    names = sorted(path.parent.name for path in root.glob("hubs/*/layout.toml"))
    layouts = [read_layout(folder, name, rulebook) for name in names]
    if not layouts:
        folder.problem("hubs", "There is no layout.")
    services = _services_by_billing_code(rulebook)
    catalog = Catalog(
        rulebook=rulebook,
        layouts={layout.name: layout for layout in layouts if layout is not None},
        service_by_billing_code={
            pair: found[0] for pair, found in services.items() if len(found) == 1
        },
        referral_sources=_referral_sources(folder),
        version=folder.version(tuple(folder.contents)),
        modifiers_by_hcpcs=_by_hcpcs(services),
    )
    return catalog, folder.problems


def _services_by_billing_code(rulebook: Rulebook) -> dict[BillingCode, list[str]]:
    services: dict[BillingCode, list[str]] = {}
    for service in rulebook.services.values():
        for pair in service.billing_codes:
            services.setdefault(pair, []).append(service.code)
    return services


def _by_hcpcs(
    services: Mapping[BillingCode, list[str]],
) -> dict[str, tuple[tuple[frozenset[str], str], ...]]:
    by_hcpcs: dict[str, list[tuple[frozenset[str], str]]] = {}
    for pair, found in services.items():
        by_hcpcs.setdefault(pair.hcpcs, []).extend(
            (frozenset(pair.modifiers), service) for service in found
        )
    return {hcpcs: tuple(entries) for hcpcs, entries in by_hcpcs.items()}


def _referral_sources(folder: MappingFolder) -> dict[str, str]:
    sources: dict[str, str] = {}
    columns = ("code", "label", "external", "source", "confidence")
    for row in folder.table(_REFERRAL_SOURCES, columns):
        row.citation()
        row.flag("external")
        sources[row.text("code")] = row.text("label")
    return sources
