"""Receipts from drop folders: what confirms, what a person hears of, what is left alone."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.notice_builders import NOW, Owed, a_lane, a_partner, store_owed, store_partners, told

from fhir_hub_bridge.connectors.drop_folder import DropFolder
from fhir_hub_bridge.delivery.proof import Receipts, collect_acknowledgements
from fhir_hub_bridge.referral.parties import Agreement
from fhir_hub_bridge.store.notice_records import NoticeRecord, notices_of
from fhir_hub_bridge.store.notice_rows import Attempt
from fhir_hub_bridge.store.outbox import claim, record
from fhir_hub_bridge.store.transaction import Store

DAY = timedelta(days=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "drop"
    (made / "acknowledged").mkdir(parents=True)
    return made


async def dropped(store: Store, folder: Path, *names: str, by: str = "hub") -> list[Owed]:
    """Notices that were left in the folder."""
    partner = a_partner(by, endpoint=str(folder), method="file-drop", proof="acknowledgement")
    lanes = [one for name in names for one in a_lane(name, recipient=by, method="file-drop")]
    await store.write(store_partners, [partner])
    await store.write(store_owed, lanes)
    for one in await store.write(claim, now=NOW, lease=DAY, limit=50):
        attempt = Attempt(NOW, NOW, "sent", "left in the folder")
        await store.write(record, one, attempt, next_attempt_at=NOW + DAY, told=told)
    return lanes


def acknowledge(folder: Path, one: Owed, **wrong: Any) -> None:
    path = folder / "acknowledged" / f"{one.id}.ack.json"
    path.write_text(json.dumps({"notice": one.id, "sha256": one.sha256, **wrong}))


async def look(store: Store, doubted: dict[str, str] | None = None) -> int:
    receipts = replace(
        receipts_of(store, at=NOW + DAY / 2), doubted={} if doubted is None else doubted
    )
    return sum([await receipts.look(at) for at in await receipts.to_look_at()])


def receipts_of(store: Store, *, folders: DropFolder | None = None, at: datetime = NOW) -> Receipts:
    return Receipts(
        store, folders or DropFolder(), escalate_to="J. Doe", told=told, clock=lambda: at
    )


async def stands(store: Store, one: Owed) -> NoticeRecord:
    (found,) = await store.read(notices_of, one.referral_id)
    return found


async def test_an_acknowledgement_file_confirms_the_notice_it_names(
    store: Store, folder: Path
) -> None:
    first, second = await dropped(store, folder, "a", "b")
    acknowledge(folder, first)

    confirmed = await look(store)

    assert confirmed == 1
    assert (await stands(store, first)).state == "confirmed"
    assert (await stands(store, first)).received_at == NOW + DAY / 2
    assert (await stands(store, second)).state == "pending"


async def test_nothing_is_looked_for_when_nothing_is_awaited(store: Store) -> None:
    assert await look(store, {"old": "doubt"}) == 0


async def test_a_receipt_of_other_bytes_is_for_a_person_at_the_second_look(
    store: Store, folder: Path
) -> None:
    (one,) = await dropped(store, folder, "a")
    acknowledge(folder, one, sha256="0" * 64)
    doubted: dict[str, str] = {}

    marks = []
    for _ in range(3):
        await look(store, doubted)
        marks.append((await stands(store, one)).escalated_why)

    after = await stands(store, one)
    named = "the acknowledgement names other content"
    assert marks == ["", named, named]
    assert (after.state, after.escalated_to) == ("pending", "J. Doe")


async def test_a_receipt_half_written_at_the_first_look_is_believed_at_the_second(
    store: Store, folder: Path
) -> None:
    (one,) = await dropped(store, folder, "a")
    (folder / "acknowledged" / f"{one.id}.ack.json").write_text('{"notice"')
    doubted: dict[str, str] = {}
    await look(store, doubted)
    acknowledge(folder, one)

    await look(store, doubted)

    after = await stands(store, one)
    assert (after.state, after.escalated_at) == ("confirmed", None)


async def test_a_receipt_in_another_partners_folder_is_not_looked_at(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    (one,) = await dropped(store, folder, "a")
    foreign = tmp_path / "foreign"
    (foreign / "acknowledged").mkdir(parents=True)
    acknowledge(foreign, one)
    other = a_partner("other", endpoint=str(foreign), method="file-drop", proof="acknowledgement")
    await store.write(store_partners, [other])

    assert await look(store) == 0


@pytest.mark.parametrize("method", ["fhir-push", "file-drop"])
async def test_a_folder_that_is_gone_or_no_longer_agreed_on_is_left_alone(
    store: Store, folder: Path, method: str
) -> None:
    (one,) = await dropped(store, folder, "a")
    changed = a_partner("hub", endpoint=str(folder / "gone"), method=method)
    await store.write(store_partners, [changed])

    assert await look(store) == 0
    assert (await stands(store, one)).escalated_at is None


async def test_the_loop_collects_and_wakes_delivery_until_it_is_stopped(
    store: Store, folder: Path
) -> None:
    (one,) = await dropped(store, folder, "a")
    stop, confirmed = asyncio.Event(), asyncio.Event()
    loop = asyncio.create_task(
        collect_acknowledgements(
            receipts_of(store),
            stop=stop,
            poll=timedelta(seconds=0.02),
            confirmed=confirmed,
        )
    )
    acknowledge(folder, one)

    await asyncio.wait_for(confirmed.wait(), 5)
    stop.set()
    await asyncio.wait_for(loop, 5)

    assert (await stands(store, one)).state == "confirmed"


async def test_the_loop_goes_on_after_a_fault_of_ours(store: Store, folder: Path) -> None:
    (one,) = await dropped(store, folder, "a")
    stop, confirmed = asyncio.Event(), asyncio.Event()
    faults = [RuntimeError("once")]

    class FailsOnce(DropFolder):
        async def receipt(self, *args: Any, **kwargs: Any) -> Any:
            if faults:
                raise faults.pop()
            return await super().receipt(*args, **kwargs)

    acknowledge(folder, one)
    loop = asyncio.create_task(
        collect_acknowledgements(
            receipts_of(store, folders=FailsOnce()),
            stop=stop,
            poll=timedelta(seconds=0.02),
            confirmed=confirmed,
        )
    )

    await asyncio.wait_for(confirmed.wait(), 5)
    stop.set()
    await asyncio.wait_for(loop, 5)


async def test_a_folder_that_hangs_holds_up_nobody_elses_receipts(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    hanging, released = tmp_path / "hangs", asyncio.Event()
    (one,) = await dropped(store, folder, "a")
    await dropped(store, hanging, "b", "c", by="first-of-all")
    stop, confirmed = asyncio.Event(), asyncio.Event()
    looks: list[str] = []

    class Hangs(DropFolder):
        async def receipt(self, notice_id: str, *, sha256: str, agreement: Agreement) -> Any:
            looks.append(agreement.endpoint)
            if agreement.endpoint == str(hanging):
                await released.wait()
                raise TimeoutError
            return await super().receipt(notice_id, sha256=sha256, agreement=agreement)

    loop = asyncio.create_task(
        collect_acknowledgements(
            receipts_of(store, folders=Hangs()),
            stop=stop,
            poll=timedelta(seconds=0.02),
            confirmed=confirmed,
        )
    )
    async with asyncio.timeout(10):
        while len(looks) < 4:
            await asyncio.sleep(0.01)
    acknowledge(folder, one)

    await asyncio.wait_for(confirmed.wait(), 5)
    looks_that_hang = looks.count(str(hanging))
    stop.set()
    released.set()
    await asyncio.wait_for(loop, 5)

    assert looks_that_hang == 1
    assert (await stands(store, one)).state == "confirmed"
