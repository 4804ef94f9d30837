"""The settings: few, documented, from environment variables `FHIR_HUB_BRIDGE_*`.

Only `wiring` and `cli` see them. What differs per partner or program is data, not a setting.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def shipped(folder: str) -> Path:
    """`mappings` or `profiles`: from the installed package, or the top level of a checkout."""
    packaged = Path(__file__).parent / "shipped" / folder
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / folder


def _data_folder() -> Path:
    return Path.home() / ".local" / "share" / "fhir-hub-bridge"


class Settings(BaseSettings):
    """Every setting, with its default."""

    model_config = SettingsConfigDict(env_prefix="FHIR_HUB_BRIDGE_", frozen=True)

    database: str = Field(default="", description="database URL; empty: SQLite in the data folder")
    data_folder: Path = Field(
        default_factory=_data_folder, description="where SQLite, rejects and summaries are kept"
    )
    operator: str = Field(
        default="", description="partner id of the organisation this instance acts for"
    )
    base_url: str = Field(
        default="http://127.0.0.1:8480/fhir", description="our FHIR base as partners reach it"
    )
    mappings: Path = Field(
        default_factory=lambda: shipped("mappings"),
        description="folder of layouts, codes, rulebook",
    )
    escalation_owner: str = Field(
        default="operator", description="the person who is given notices in trouble"
    )
    retry_seconds: tuple[float, ...] = Field(
        default=(2, 10, 30, 120, 300, 900, 1800),
        description="pauses between tries of a notice; the last repeats until it is confirmed",
    )
    lease_seconds: float = Field(
        default=60,
        ge=45,  # half as long again as one try may take
        description="how long a worker owns a notice it claimed; 45 at least",
    )
    partner_concurrency: int = Field(default=4, description="sends at once to one partner")
    poll_seconds: float = Field(
        default=0.25, description="how often a worker looks for due notices"
    )
    production: bool = Field(
        default=False, description="true where members are real: nothing may pretend another time"
    )

    @property
    def database_url(self) -> str:
        """The database URL, with the default filled in."""
        return self.database or f"sqlite:///{self.data_folder / 'bridge.sqlite'}"

    @property
    def retry_schedule(self) -> tuple[timedelta, ...]:
        """`retry_seconds` as durations."""
        return tuple(timedelta(seconds=s) for s in self.retry_seconds)
