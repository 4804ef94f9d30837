"""A partner joins: from a TOML file to a row, and to the Organization that referrals point at."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fhir_hub_bridge.errors import BadSetting
from fhir_hub_bridge.intake.recording import Recording
from fhir_hub_bridge.mapping.parties_to_fhir import organization
from fhir_hub_bridge.referral.parties import Agreement, Partner
from fhir_hub_bridge.store.late_agreements import take_over
from fhir_hub_bridge.store.partners import put_partner
from fhir_hub_bridge.store.resources import NewVersion, find, save, unstamped
from fhir_hub_bridge.store.unit import Connection

_PARTNER: TypeAdapter[Partner] = TypeAdapter(Partner)


def read_partners(path: Path) -> tuple[Partner, ...]:
    """The partners of a TOML file: `[[partner]]` tables, or one partner's keys at the top.

    Raises BadSetting naming the key that is wrong; one that is unknown is wrong.
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


def register(conn: Connection, partner: Partner, *, recording: Recording) -> None:
    """The unit: keep the partner and its Organization; again with the same file changes nothing.

    Notices owed to it that waited for an agreement can then go out.
    """
    put_partner(conn, partner, at=recording.now)
    take_over(conn, partner, now=recording.now)
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
                reindex=version > 1,
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
        return _PARTNER.validate_python(table, strict=False)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BadSetting(f"{path.name}: {faults}") from None
