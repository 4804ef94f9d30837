"""`packages add` and `packages list`: implementation guides whose profiles are enforced."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fhir_hub_bridge.cli.opening import say_json, settings_of, with_bridge
from fhir_hub_bridge.cli.options import AsJson, Database
from fhir_hub_bridge.errors import BadSetting

if TYPE_CHECKING:
    from fhir_hub_bridge.store.packages import StoredPackage
    from fhir_hub_bridge.wiring import Bridge

commands = typer.Typer(
    help="FHIR implementation guides: a resource that names a profile of theirs must keep it.",
    no_args_is_help=True,
)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(commands, name="packages")


@commands.command(epilog="Example: fhir-hub-bridge packages add hl7.fhir.us.core-7.0.0.tgz")
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE.tgz", help="A package in NPM layout.")],
    database: Database = "",
    as_json: AsJson = False,
) -> None:
    """Keep an R4 implementation-guide package, beside other versions of it.

    A running server knows it after its next start.
    """
    from fhir_hub_bridge.fhir.packages import read_package
    from fhir_hub_bridge.store.packages import put_package

    content = _content(file)
    package = read_package(content)

    async def job(bridge: Bridge) -> StoredPackage:
        return await bridge.store.write(
            lambda conn: put_package(
                conn,
                name=package.name,
                version=package.version,
                content=content,
                at=bridge.clock(),
            )
        )

    stored = with_bridge(job, settings=settings_of(database))
    if as_json:
        say_json({**_shown(stored), "definitions": len(package.definitions)})
        return
    typer.echo(f"Added {package.id} with {len(package.definitions)} definitions.")
    typer.echo("A running server knows it after its next start.")


@commands.command("list", epilog="Example: fhir-hub-bridge packages list --json")
def list_(database: Database = "", as_json: AsJson = False) -> None:
    """List the packages that are kept; the bridge's own guide is always there beside them."""
    from fhir_hub_bridge.store.packages import all_packages

    async def job(bridge: Bridge) -> tuple[StoredPackage, ...]:
        return await bridge.store.read(all_packages)

    found = with_bridge(job, settings=settings_of(database))
    if as_json:
        say_json({"packages": [_shown(stored) for stored in found]})
        return
    for stored in found:
        added = f"{stored.added_at:%Y-%m-%d %H:%M} UTC"
        typer.echo(f"{stored.name}#{stored.version:<12} {added}  sha256 {stored.sha256}")
    if not found:
        typer.echo("No package is kept: fhir-hub-bridge packages add FILE.tgz")


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadSetting(f"{file}: {error.strerror}.") from None


def _shown(stored: StoredPackage) -> dict[str, Any]:
    return {
        "name": stored.name,
        "version": stored.version,
        "sha256": stored.sha256,
        "added_at": stored.added_at.isoformat(),
    }
