"""From a command's options to an open bridge, and back out with its answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from fhir_hub_bridge.errors import BadSetting

if TYPE_CHECKING:
    from fhir_hub_bridge.settings import Settings
    from fhir_hub_bridge.wiring import Bridge

T = TypeVar("T")


def settings_of(database: str = "") -> Settings:
    """The settings of the environment, with this database where one is named.

    Raises BadSetting, naming each variable that is wrong and never its value.
    """
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from fhir_hub_bridge.settings import Settings

    try:
        return Settings(database=database) if database else Settings()
    except ValidationError as error:
        faults = "; ".join(
            f"FHIR_HUB_BRIDGE_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}"
            for e in error.errors()
        )
        raise BadSetting(f"A setting is wrong. {faults}") from None
    except SettingsError as error:
        raise BadSetting(f"A setting is wrong: {error}.") from None


def with_bridge(
    job: Callable[[Bridge], Awaitable[T]],
    *,
    settings: Settings,
    clock: Callable[[], datetime] | None = None,
    with_packages: bool = False,
) -> T:
    """Open the bridge, do one job, close it; the job's answer. Raises what either raises.

    `with_packages` is for jobs that judge by profiles.
    """
    from fhir_hub_bridge.wiring import open_bridge, utc_now

    async def opened() -> T:
        async with open_bridge(
            settings, clock=clock or utc_now, with_packages=with_packages
        ) as bridge:
            return await job(bridge)

    return asyncio.run(opened())


def today(bridge: Bridge) -> date:
    """The day in California, where the rulebook counts days."""
    from fhir_hub_bridge.referral.deadlines import local_date

    return local_date(bridge.clock(), bridge.catalog.rulebook.calendar)


def a_day(text: str, *, option: str) -> date:
    """A date as YYYY-MM-DD. Raises BadSetting."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadSetting(f"{option} takes a date as 2026-11-21.") from None


def an_instant(text: str, *, option: str) -> datetime:
    """An instant with its offset from UTC. Raises BadSetting."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise BadSetting(f"{option} takes an instant with its offset, as 2026-11-21T12:00-08:00.")
    return instant


def say_json(answer: Any) -> None:
    """One JSON object on standard output."""
    typer.echo(json.dumps(answer, default=str))
