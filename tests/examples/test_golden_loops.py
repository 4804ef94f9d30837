"""Golden pairs: a file's rows, or a client's requests, beside every version and message they make.

A story is a folder of `loops/` with a file of a layout (`rtf-ecm.csv`) or the requests of clients
(`requests.json`), and `expected.json`. Ids are written `Task-1`, counted as they first appear. All
persons are made up. After a wanted change: `python -m tests.examples.test_golden_loops`, and read
the difference.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, text
from tests.builders import NOW, a_catalog, a_recording, register

from fhir_hub_bridge.fhir.codec import Json, parse_json
from fhir_hub_bridge.fhir.typed import to_typed
from fhir_hub_bridge.fhir.validation import issues_of
from fhir_hub_bridge.intake.import_file import import_file
from fhir_hub_bridge.intake.receive_fhir import Asked, receive
from fhir_hub_bridge.store.schema import prepare
from fhir_hub_bridge.store.tables import notice, resource_version
from fhir_hub_bridge.store.transaction import Store, open_store

STORIES = sorted(path for path in (Path(__file__).parent / "loops").iterdir() if path.is_dir())
MINTED = re.compile(r"\b[0-9a-hjkmnp-tv-z]{19}\b")
NAMED = re.compile(r"\b[A-Za-z]+-\d+\b")
DIGEST = re.compile(r"urn:sha256:[0-9a-f]{64}")


async def lived(story: Path) -> Json:
    """All that a story leaves: every version of every resource, and every message."""
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(f"sqlite:///{folder}/bridge.db")
        try:
            await prepare(store)
            await register(store)
            if (story / "requests.json").exists():
                await ask_all(store, story / "requests.json")
            else:
                (path,) = story.glob("*.csv")
                await import_all(store, path, Path(folder))
            return await store.read_snapshot(left)
        finally:
            await store.close()


async def import_all(store: Store, path: Path, folder: Path) -> None:
    await import_file(
        path,
        layout=a_catalog().layout(path.stem),
        catalog=a_catalog(),
        store=store,
        recording=a_recording(),
        out_folder=folder,
        unmatched="open",
    )


async def ask_all(store: Store, path: Path) -> None:
    """The requests in turn, a minute apart; `Task-1` in them is the first Task made before."""
    for number, asked in enumerate(json.loads(path.read_text())):
        made = names_of(await store.read_snapshot(versions))
        ids = {name: id_ for id_, name in made.items()}
        body = _renamed(NAMED, ids, json.dumps(asked["body"]))
        type_, _, id_ = _renamed(NAMED, ids, asked.get("url", "")).partition("/")
        request = Asked(
            asked["method"], body.encode(), type=type_, id=id_, caller=asked.get("caller", "")
        )
        recording = a_recording(NOW + timedelta(minutes=number), f"request {number}")
        answered = await receive(request, store=store, recording=recording)
        assert answered.status in (200, 201)


def versions(conn: Connection) -> list[Json]:
    """Every version stored, in the order they were written."""
    query = select(resource_version.c.body).order_by(text("last_updated, rowid"))
    return [parse_json(bytes(body)) for body in conn.execute(query).scalars()]


def names_of(resources: list[Json]) -> dict[str, str]:
    """What each minted id is called: its resource's type, or `id`, counted as it first appears."""
    kinds = {resource["id"]: str(resource["resourceType"]) for resource in resources}
    names: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    for id_ in dict.fromkeys(MINTED.findall(json.dumps(resources))):
        kind = kinds.get(id_, "id")
        numbers[kind] += 1
        names[id_] = f"{kind}-{numbers[kind]}"
    return names


def left(conn: Connection) -> Json:
    resources = versions(conn)
    query = select(notice.c.message).order_by(notice.c.referral_id, notice.c.lane)
    messages = [parse_json(bytes(body)) for body in conn.execute(query).scalars()]
    whole = json.dumps({"resources": resources, "messages": messages})
    shown: Json = json.loads(
        DIGEST.sub("urn:sha256:...", _renamed(MINTED, names_of(resources), whole))
    )
    return shown


def _renamed(what: re.Pattern[str], names: dict[str, str], where: str) -> str:
    return what.sub(lambda match: names.get(match[0], match[0]), where)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
async def test_a_story_makes_the_resources_and_messages_written_beside_it(story: Path) -> None:
    expected = json.loads((story / "expected.json").read_text())

    made = await lived(story)

    assert made["resources"] == expected["resources"]
    assert made["messages"] == expected["messages"]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_everything_in_a_story_is_fhir_and_loads_into_the_typed_classes(story: Path) -> None:
    made = json.loads((story / "expected.json").read_text())

    for resource in (*made["resources"], *made["messages"]):
        typed = to_typed(resource)

        assert typed.__class__.__name__ == resource["resourceType"]
        assert issues_of(resource) == []


def test_the_stories_show_every_resource_that_the_mapping_writes() -> None:
    stories = [json.loads((story / "expected.json").read_text()) for story in STORIES]
    shown = {resource["resourceType"] for story in stories for resource in story["resources"]}

    assert shown == {
        "Patient",
        "Coverage",
        "ServiceRequest",
        "Task",
        "ClaimResponse",
        "CommunicationRequest",
        "Communication",
        "Provenance",
    }


async def _rewrite() -> None:
    for story in STORIES:
        made: Any = await lived(story)
        (story / "expected.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(_rewrite())
