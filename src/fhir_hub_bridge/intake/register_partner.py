"""A partner joins: from a TOML file to a row, and to the Organization that referrals point at."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from fhir_hub_bridge.errors import BadSetting
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.mapping.cell_values import Fault, read_npi, read_tin
from fhir_hub_bridge.mapping.notice_to_fhir import communication_told
from fhir_hub_bridge.mapping.parties_to_fhir import organization
from fhir_hub_bridge.referral.parties import Agreement, Method, Partner
from fhir_hub_bridge.store.late_agreements import take_over
from fhir_hub_bridge.store.partners import put_partner
from fhir_hub_bridge.store.resources import NewVersion, find, save, unstamped
from fhir_hub_bridge.store.unit import Connection

_PARTNER: TypeAdapter[Partner] = TypeAdapter(Partner)
_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}", re.ASCII)  # a FHIR id: its Organization has it
# What each way can bring back. A server answers 2xx at once and leaves no receipt; a folder holds
# receipts and answers nothing: any other proof would never come.
_PROOF_OF: Final[Mapping[Method, str]] = {"fhir-push": "2xx", "file-drop": "acknowledgement"}


def read_partners(path: Path) -> tuple[Partner, ...]:
    """The partners of a TOML file: `[[partner]]` tables, or one partner's keys at the top.

    Raises BadSetting naming the key that is wrong; one that is unknown is wrong. NPI and TIN are
    their digits alone, however the file writes them.
    """
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSetting(f"{path.name} cannot be read as TOML: {error}") from None
    tables = data.pop("partner", None)
    if tables is None:
        return (_read(data, path),)
    if data or not isinstance(tables, list) or not tables:
        raise BadSetting(f"{path.name}: with [[partner]] there is nothing else at the top.")
    return tuple(_read(table, path) for table in tables)


def register(conn: Connection, *partners: Partner, recording: Recording) -> None:
    """The unit: keep the partners and their Organizations; the same again changes nothing.

    Notices owed to them that waited for an agreement can then go out, or are withheld where it
    begins later.
    """
    for partner in partners:
        put_partner(conn, partner, at=recording.now)
        _put_organization(conn, partner, recording=recording)
    take_over(
        conn,
        before_go_live=recording.rulebook.suppressions["before-go-live"].applies,
        now=recording.now,
        told=communication_told,
    )


def _put_organization(conn: Connection, partner: Partner, *, recording: Recording) -> None:
    resource = organization(partner)
    stored = find(conn, "Organization", partner.id, lock=True)
    if stored is not None and unstamped(stored.parsed()) == resource:
        return
    version = stored.version + 1 if stored else 1
    method = "PUT" if stored else "POST"
    save(
        conn,
        [
            NewVersion(
                resource,
                version,
                recording.now,
                recording.operator,
                method=method,
            )
        ],
    )


def _read(table: Mapping[str, Any], path: Path) -> Partner:
    unknown = [key for key in table if key not in {f.name for f in fields(Partner)}]
    agreement = table.get("agreement")
    if isinstance(agreement, Mapping):
        known = {f.name for f in fields(Agreement)}
        unknown += [f"agreement.{key}" for key in agreement if key not in known]
    if unknown:
        raise BadSetting(f"{path.name}: nothing is called {', '.join(unknown)} here.")
    try:
        partner = _PARTNER.validate_python(table, strict=False)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BadSetting(f"{path.name}: {faults}") from None
    npi = read_npi(partner.npi) if partner.npi else ""
    tin = read_tin(partner.tin) if partner.tin else ""
    wrong = [f.message for f in (npi, tin) if isinstance(f, Fault)] + list(_faults(partner))
    if partner.tin and not tin:
        wrong.append("A placeholder is no tax number.")
    if isinstance(npi, Fault) or isinstance(tin, Fault) or wrong:
        raise BadSetting(f"{path.name}, {partner.id}: {' '.join(wrong)}")
    return replace(partner, npi=npi, tin=tin)


def _faults(partner: Partner) -> Iterator[str]:
    """What fits its type and still cannot work."""
    if not _ID.fullmatch(partner.id):
        yield "id: up to 64 letters, digits, dots and hyphens, as in a FHIR id."
    agreement = partner.agreement
    if agreement is None:
        return
    proof = _PROOF_OF[agreement.method]
    if agreement.proof != proof:
        yield f'agreement.proof: "{agreement.method}" can only prove "{proof}".'
    if agreement.method == "fhir-push" and not _is_web_address(agreement.endpoint):
        yield "agreement.endpoint: an http or https address."
    if agreement.method == "file-drop" and not Path(agreement.endpoint).is_absolute():
        yield "agreement.endpoint: a folder's absolute path."


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
