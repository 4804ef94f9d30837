"""`sandbox`: one pretend partner alone, to try a client or a server on."""

from __future__ import annotations

import typer

commands = typer.Typer(help="Pretend partners, faults included.", no_args_is_help=True)

# The partner reads its own options, and tells them by its own --help.
_PASSED_ON = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],
}


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(commands, name="sandbox")


@commands.command("referring-entity", context_settings=_PASSED_ON)
def referring_entity(context: typer.Context) -> None:
    """An EHR that sends referrals and has a FHIR server to be told on."""
    _run("referring-entity", context.args)


@commands.command(context_settings=_PASSED_ON)
def plan(context: typer.Context) -> None:
    """A managed care plan that decides and assigns by FHIR."""
    _run("plan", context.args)


@commands.command(context_settings=_PASSED_ON)
def hub(context: typer.Context) -> None:
    """A community care hub that writes files and acknowledges dropped notices."""
    _run("hub", context.args)


@commands.command(context_settings=_PASSED_ON)
def provider(context: typer.Context) -> None:
    """A provider with a FHIR server of its own, which is sent copies of referrals."""
    _run("provider", context.args)


def _run(role: str, arguments: list[str]) -> None:
    from fhir_hub_bridge.sandbox.__main__ import main

    raise typer.Exit(main([role, *arguments]))
