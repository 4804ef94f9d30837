"""`partner add` and `partner list`: who we exchange referrals with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fhir_hub_bridge.cli.opening import say_json, settings_of, with_bridge
from fhir_hub_bridge.cli.options import AsJson, Database

if TYPE_CHECKING:
    from fhir_hub_bridge.referral.parties import Partner
    from fhir_hub_bridge.wiring import Bridge

commands = typer.Typer(help="Partners and their notification agreements.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(commands, name="partner")


@commands.command(epilog="Example: fhir-hub-bridge partner add river-clinic.toml")
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="One partner, or several.")],
    database: Database = "",
    as_json: AsJson = False,
) -> None:
    """Register the partners of a TOML file, all or none, or replace what their ids name."""
    from fhir_hub_bridge.intake.register_partner import read_partners, register

    found = read_partners(file)

    async def job(bridge: Bridge) -> None:
        await bridge.store.write(register, *found, recording=bridge.recording())

    with_bridge(job, settings=settings_of(database))
    if as_json:
        say_json({"partners": [_shown(partner) for partner in found]})
        return
    for partner in found:
        typer.echo(f"Registered {partner.id}: {partner.name} ({partner.kind}).")


@commands.command("list", epilog="Example: fhir-hub-bridge partner list --json")
def list_(database: Database = "", as_json: AsJson = False) -> None:
    """List the partners and how each is told."""
    from fhir_hub_bridge.store.partners import all_partners

    async def job(bridge: Bridge) -> tuple[Partner, ...]:
        return await bridge.store.read(all_partners)

    found = with_bridge(job, settings=settings_of(database))
    if as_json:
        say_json({"partners": [_shown(partner) for partner in found]})
        return
    for partner in found:
        agreed = partner.agreement
        told = f"{agreed.method}, told when {agreed.proof}" if agreed else "no agreement"
        typer.echo(f"{partner.id:<24} {partner.kind:<18} {told:<36} {partner.name}")
    if not found:
        typer.echo("No partner is registered: fhir-hub-bridge partner add FILE.toml")


def _shown(partner: Partner) -> dict[str, Any]:
    agreed = partner.agreement
    return {
        "id": partner.id,
        "name": partner.name,
        "kind": partner.kind,
        "npi": partner.npi,
        "acts_for": list(partner.acts_for),
        "delegated": list(partner.delegated),
        "agreement": {
            "method": agreed.method,
            "endpoint": agreed.endpoint,
            "proof": agreed.proof,
            "notify_from": agreed.notify_from,
            "every_status": agreed.every_status,
        }
        if agreed
        else None,
    }
