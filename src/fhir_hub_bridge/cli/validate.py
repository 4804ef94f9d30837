"""`validate`: resources and Bundles judged by base R4 and by profiles, without storing them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fhir_hub_bridge.cli.endings import DONE, PROBLEMS
from fhir_hub_bridge.cli.opening import say_json, settings_of, with_bridge
from fhir_hub_bridge.cli.options import AsJson, Database
from fhir_hub_bridge.errors import BadSetting, Issue, ResourceRejected

if TYPE_CHECKING:
    from fhir_hub_bridge.fhir.packages import Library
    from fhir_hub_bridge.wiring import Bridge


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        epilog="Example: fhir-hub-bridge validate task.json --profile"
        " https://fhir-hub-bridge.example/fhir/StructureDefinition/clr-referral-task"
    )(validate)


def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="FHIR JSON.")],
    profile: Annotated[
        list[str] | None,
        typer.Option(metavar="CANONICAL", help="Judge by this profile too; may be repeated."),
    ] = None,
    database: Database = "",
    as_json: AsJson = False,
) -> None:
    """Judge resources by base R4, and by the profiles that they name or --profile names.

    The resources of a Bundle are judged by the profiles that they name. Profiles are those of
    the bridge's own guide and of `packages add`. Exit code 1 if a file has errors.
    """
    from fhir_hub_bridge.fhir.outcome import operation_outcome
    from fhir_hub_bridge.fhir.validate import is_valid

    bodies = [(file, _content(file)) for file in files]

    async def job(bridge: Bridge) -> Library:
        return bridge.library

    library = with_bridge(job, settings=settings_of(database), with_packages=True)
    judged = [(file, _judged(body, profile or [], library)) for file, body in bodies]
    bad = [file for file, issues in judged if not is_valid(issues)]
    if as_json:
        outcomes = [operation_outcome(issues) for _, issues in judged]
        named = [{"file": f, "outcome": o} for (f, _), o in zip(judged, outcomes, strict=True)]
        say_json(outcomes[0] if len(outcomes) == 1 else {"files": named})
    else:
        for file, issues in judged:
            typer.echo(f"{file}: {'not valid' if file in bad else 'valid'}")
            for issue in issues:
                place = f" {issue.place}" if issue.place else ""
                rule = f" [{issue.rule}]" if issue.rule else ""
                typer.echo(f"  {issue.severity}{place}: {issue.message}{rule}")
    raise typer.Exit(PROBLEMS if bad else DONE)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadSetting(f"{file}: {error.strerror}.") from None


def _judged(body: bytes, profiles: list[str], library: Library) -> list[Issue]:
    """What there is to say of a body; what cannot be read as JSON is told in the same way."""
    from fhir_hub_bridge.fhir.codec import parse_json
    from fhir_hub_bridge.fhir.validate import validated

    try:
        resource = parse_json(body)
    except ResourceRejected as refused:
        return [*refused.issues]
    return validated(resource, profiles=profiles, library=library)
