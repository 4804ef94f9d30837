"""`work`: what goes on behind the doors, in a process of its own: notices out, receipts in, looks.

`serve` starts one such process; on PostgreSQL any number may run, on any machine.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fhir_hub_bridge.cli.opening import say_json, settings_of
from fhir_hub_bridge.cli.options import AsJson, Database, StopWithParent

if TYPE_CHECKING:
    from fhir_hub_bridge.settings import Settings
    from fhir_hub_bridge.wiring import Bridge


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(epilog="Example: fhir-hub-bridge work --only delivery --database postgresql:///b")(
        work
    )


def work(
    *,
    only: Annotated[
        Literal["delivery", "sync"] | None,
        typer.Option(help="This kind of work alone; default: all.", show_default=False),
    ] = None,
    stop_with_parent: StopWithParent = False,
    database: Database = "",
    as_json: AsJson = False,
) -> None:
    """Deliver what is owed, collect receipts, look at partners' servers, until stopped.

    `delivery` is notices, copies and their receipts; `sync` is looking what became of referrals on
    partners' FHIR servers. SIGTERM or Ctrl-C: what is being sent is finished first.
    """
    from fhir_hub_bridge.logs import set_up_logs

    settings = settings_of(database)
    set_up_logs(process="worker")
    if as_json:
        say_json({"working": [only] if only else ["delivery", "sync"]})
    _loop(settings, only=only or "", stop_with_parent=stop_with_parent)


def _loop(settings: Settings, *, only: str, stop_with_parent: bool) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(settings, only=only, stop_with_parent=stop_with_parent))


async def _work(settings: Settings, *, only: str, stop_with_parent: bool) -> None:
    import structlog

    from fhir_hub_bridge.processes import follow_parent, set_on_signals
    from fhir_hub_bridge.wiring import open_bridge

    stop, hint = asyncio.Event(), asyncio.Event()
    set_on_signals(stop)
    following = None
    if stop_with_parent:
        following = asyncio.create_task(follow_parent(hint=hint, gone=stop))
    log = structlog.get_logger()
    rousing = asyncio.create_task(_rouse(stop, hint))
    async with open_bridge(settings, with_packages=False) as bridge:
        log.info("The worker is at work.")
        async with asyncio.TaskGroup() as at_work:
            if only != "sync":
                at_work.create_task(_deliver(bridge, stop=stop, hint=hint))
            if only != "delivery":
                at_work.create_task(_sync(bridge, stop=stop, hint=hint))
    for task in (following, rousing):
        if task is not None:
            task.cancel()
    log.info("The worker has finished.")


async def _rouse(stop: asyncio.Event, hint: asyncio.Event) -> None:
    """Delivery may be in a long pause when it is to stop."""
    await stop.wait()
    hint.set()


async def _sync(bridge: Bridge, *, stop: asyncio.Event, hint: asyncio.Event) -> None:
    """Look at partners' servers until `stop` is set; what is owed of it is hinted at."""
    from fhir_hub_bridge.intake.relay import Relay, keep_in_touch

    relay = Relay(bridge.store, bridge.reader(), bridge.recording)
    await keep_in_touch(relay, stop=stop, changed=hint)


async def _deliver(bridge: Bridge, *, stop: asyncio.Event, hint: asyncio.Event) -> None:
    """Send what is owed, take in receipts, watch due moments, until `stop` is set.

    What is begun then is done first.
    """
    from datetime import timedelta

    from fhir_hub_bridge.connectors.drop_folder import DropFolder
    from fhir_hub_bridge.connectors.fhir_peer import FhirPeer
    from fhir_hub_bridge.delivery.clock import watch_clock
    from fhir_hub_bridge.delivery.dispatch import deliver
    from fhir_hub_bridge.delivery.pace import Pace
    from fhir_hub_bridge.delivery.proof import Receipts, collect_acknowledgements
    from fhir_hub_bridge.mapping.notice_to_fhir import communication_told

    settings = bridge.settings
    peer, folders = FhirPeer(), DropFolder()
    pace = Pace(
        schedule=settings.retry_schedule,
        lease=timedelta(seconds=settings.lease_seconds),
        partner_concurrency=settings.partner_concurrency,
        poll=timedelta(seconds=settings.poll_seconds),
    )
    try:
        async with asyncio.TaskGroup() as all_three:
            all_three.create_task(
                deliver(
                    bridge.store,
                    connectors={"fhir-push": peer, "file-drop": folders},
                    pace=pace,
                    escalate_to=settings.escalation_owner,
                    told=communication_told,
                    clock=bridge.clock,
                    stop=stop,
                    wake=hint,
                )
            )
            all_three.create_task(
                watch_clock(
                    bridge.store,
                    escalate_to=settings.escalation_owner,
                    before_go_live=bridge.catalog.rulebook.suppressions["before-go-live"].applies,
                    told=communication_told,
                    clock=bridge.clock,
                    stop=stop,
                )
            )
            all_three.create_task(
                collect_acknowledgements(
                    Receipts(
                        bridge.store,
                        folders,
                        escalate_to=settings.escalation_owner,
                        told=communication_told,
                        clock=bridge.clock,
                    ),
                    stop=stop,
                    poll=max(pace.poll, timedelta(seconds=0.5)),
                    confirmed=hint,
                )
            )
    finally:
        await peer.close()
        folders.close()
