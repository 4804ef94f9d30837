"""`referral decide`, `assign` and `show`: the plan's acts, and one referral's story."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fhir_hub_bridge.cli.endings import DONE, PROBLEMS
from fhir_hub_bridge.cli.opening import a_day, say_json, settings_of, today, with_bridge
from fhir_hub_bridge.cli.options import AsJson, Database

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fhir_hub_bridge.intake.record_referral import Recorded
    from fhir_hub_bridge.referral.model import Act
    from fhir_hub_bridge.store.console_queries import Story
    from fhir_hub_bridge.wiring import Bridge

commands = typer.Typer(help="One referral: the plan's acts, and its story.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The referral's id, or Task/ID.")]
On = Annotated[
    str, typer.Option("--on", metavar="DATE", help="When; default: today.", show_default=False)
]
By = Annotated[
    str,
    typer.Option(
        "--by",
        metavar="PARTNER",
        help="Whose act it is; default: the operator of the settings.",
        show_default=False,
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(commands, name="referral")


@commands.command(
    epilog="Example: fhir-hub-bridge referral decide ID --status denied "
    "--reason 'criteria not met' --on 2026-11-21"
)
def decide(
    *,
    referral: Id,
    status: Annotated[str, typer.Option(help="approved, denied, ...: a code of the status table.")],
    reason: Annotated[str, typer.Option(help="Why; needed where it is denied.")] = "",
    on: On = "",
    number: Annotated[str, typer.Option(help="The authorization's number.")] = "",
    basis: Annotated[
        str, typer.Option(help="prior, presumptive, retroactive or not-required.")
    ] = "prior",
    by: By = "",
    database: Database = "",
    as_json: AsJson = False,
) -> None:
    """Record the plan's authorization decision."""
    from fhir_hub_bridge.referral.model import Decide

    async def act(bridge: Bridge) -> Act:
        return Decide(
            status=status,
            on=a_day(on, option="--on") if on else today(bridge),
            basis=basis,
            number=number,
            reason=reason,
        )

    _act(referral, act, by=by, database=database, as_json=as_json)


@commands.command(epilog="Example: fhir-hub-bridge referral assign ID --to harbor-ecm")
def assign(
    *,
    referral: Id,
    to: Annotated[str, typer.Option(metavar="PARTNER", help="The provider.")],
    on: On = "",
    by: By = "",
    database: Database = "",
    as_json: AsJson = False,
) -> None:
    """Give the referral to a provider; again with another, it is a re-assignment."""
    from fhir_hub_bridge.referral.model import Assign
    from fhir_hub_bridge.store.partners import find_partner

    async def act(bridge: Bridge) -> Act:
        provider = await bridge.store.read(find_partner, to)
        return Assign(provider.party, a_day(on, option="--on") if on else today(bridge))

    _act(referral, act, by=by, database=database, as_json=as_json)


@commands.command(epilog="Example: fhir-hub-bridge referral show ID")
def show(referral: Id, database: Database = "", as_json: AsJson = False) -> None:
    """Tell one referral's story: events, Task versions, notices, tries and proofs."""
    from fhir_hub_bridge.store import console_queries
    from fhir_hub_bridge.terminal import story_as_json, tell_story

    async def job(bridge: Bridge) -> tuple[Story, Bridge]:
        found = await _id_of(referral, bridge)
        return await bridge.store.read_snapshot(console_queries.story, found), bridge

    story, bridge = with_bridge(job, settings=settings_of(database))
    if as_json:
        say_json(story_as_json(story, bridge.catalog.rulebook))
    else:
        tell_story(story, bridge.catalog.rulebook)


def _act(
    referral: str,
    act: Callable[[Bridge], Awaitable[Act]],
    *,
    by: str,
    database: str,
    as_json: bool,
) -> None:
    from fhir_hub_bridge.intake.plan_acts import act_on_referral

    settings = settings_of(database)

    async def job(bridge: Bridge) -> Recorded:
        return await bridge.store.write(
            act_on_referral,
            await _id_of(referral, bridge),
            await act(bridge),
            by=by or settings.operator,
            recording=bridge.recording(),
        )

    recorded = with_bridge(job, settings=settings)
    owed = sum(1 for notice in recorded.owed if notice.state == "pending")
    if as_json:
        say_json(
            {
                "referral": recorded.referral.id,
                "outcome": recorded.outcome,
                "rule": recorded.rule,
                "notices_owed": owed,
            }
        )
    else:
        why = f" ({recorded.rule})" if recorded.rule else ""
        typer.echo(f"{recorded.referral.id}: {recorded.outcome}{why}; {owed} notices owed.")
    raise typer.Exit(PROBLEMS if recorded.outcome == "review" else DONE)


async def _id_of(given: str, bridge: Bridge) -> str:
    """The referral's id, from itself or from a Task of it. Raises Unknown."""
    from fhir_hub_bridge.errors import Unknown
    from fhir_hub_bridge.store.referrals import referral_of_resource

    type_, slash, id_ = given.partition("/")
    if not slash:
        return given
    found = await bridge.store.read(referral_of_resource, type_, id_)
    if not found:
        raise Unknown(f"{type_}/{id_} belongs to no referral here.")
    return found
