"""The play: everybody does their part in rounds, by FHIR, by file and by command.

Odd rounds are the plan's, even ones the providers', whose hub sends a file for each kind of
service. The outage spans rounds two to six. Before: `stage`. After: `ending`, `journals`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fhir_hub_bridge.demo.ending import Stands, differences, stands
from fhir_hub_bridge.demo.stage import Stage
from fhir_hub_bridge.errors import BridgeError, PartnerTrouble
from fhir_hub_bridge.store.referrals import referral_of_resource

ROW_COUNTS: Final = (
    "rows_read",
    "rows_recorded",
    "rows_unchanged",
    "rows_review",
    "rows_rejected",
)

_HUB: Final = "bridgeway-hub"
_FIRST_REPORTS: Final = 2
# (round, kind of service) -> what is odd about each file sent. A second one is sent after it.
_WARTS: Final[Mapping[tuple[int, str], tuple[tuple[str, ...], ...]]] = {
    (2, "ecm"): (("wrong-header",), ("bom",)),
    (2, "cs"): (("semicolon",),),
    (4, "ecm"): (("cp1252", "excel-dates"),),
    (4, "cs"): (("half-line",), ()),
    (6, "ecm"): (("lowercase-cin",),),
}
_NO_TABLE: Final = "wrong-header"  # such a file is refused as a whole
# The EHR answers one notice twice, takes one without answering, lets one wait in vain.
_SMALL_FAULTS: Final = (
    "answer=twice times=1 on=Communication",
    "answer=lost times=1 on=Communication",
    "answer=timeout for=2s times=1 on=Communication",
)
_PATIENCE: Final = 60.0  # seconds until everything must have come to its end
_LOOK_EVERY: Final = 0.2


@dataclass(slots=True)
class Played:
    """What was done so far, and what went wrong with it."""

    referral_ids: dict[str, str] = field(default_factory=dict)  # name in the script -> our id
    rows: Counter[str] = field(default_factory=Counter)
    files_refused: int = 0
    troubles: list[str] = field(default_factory=list)
    outage_seconds: float = 0.0
    found: dict[str, Stands] = field(default_factory=dict)


async def play(
    stage: Stage,
    script: Mapping[str, Any],
    *,
    outage_seconds: float,
    say: Callable[[str], None],
) -> Played:
    """Play the script to its end, or until patience runs out; what came of it."""
    played = Played()
    referrals = script["referrals"]
    say(f"Sending {len(referrals)} referrals by FHIR")
    await _send_referrals(stage, referrals, played)
    say("The plan decides and assigns, by FHIR and by command; the EHR makes small mistakes")
    for fault in _SMALL_FAULTS:
        await stage.ehr.fault(fault)
    await _plan_acts(stage, referrals, 1, played)
    await _until(lambda: _all_told(stage, played), patience=15)
    say("The EHR is down (503); meanwhile providers report in files")
    await _outage(stage, script, played, at_least=outage_seconds)
    say("The EHR is back; rows that nobody can match come in")
    rows = [stray["row"] for stray in script["strays"]]
    await _import(stage, played, name="strays-ecm.csv", service="ecm", rows=rows)
    say("Waiting until everybody has been told")

    async def as_expected() -> bool:
        played.found = await _look(stage, played)
        return not differences(referrals, played.found)

    await _until(as_expected, patience=_PATIENCE)
    return played


async def _send_referrals(
    stage: Stage, referrals: Sequence[Mapping[str, Any]], played: Played
) -> None:
    """The EHR posts each referral as the clinic it belongs to."""
    for referral in referrals:
        order = {"bridge": stage.fhir, "bundle": referral["bundle"], "headers": _caller(referral)}
        answer = await stage.ehr.ask("POST", "/send", order)
        name = referral["identifier"]
        if answer["status"] not in (200, 201):
            played.troubles.append(f"{name} was answered {answer['status']}.")
            continue
        locations = [entry["response"]["location"] for entry in answer["body"]["entry"]]
        task = next(place for place in locations if place.startswith("Task/"))
        played.referral_ids[name] = await stage.bridge.store.read(
            referral_of_resource, "Task", task.split("/")[1]
        )


def _caller(referral: Mapping[str, Any]) -> dict[str, str]:
    """Whoever is registered calls for itself; the plan enters what others bring."""
    if referral["requester"] in ("member", "unregistered"):
        return {}
    return {"X-Partner": referral["requester"]}


async def _plan_acts(
    stage: Stage, referrals: Sequence[Mapping[str, Any]], round_: int, played: Played
) -> None:
    """The plan's steps of one round, by FHIR; those of one referral by command."""
    by_command = next(r for r in referrals if r["plot"] == "served" and not r["is_outage"])
    for referral in referrals:
        steps = [step for step in referral["steps"] if step["round"] == round_]
        if not steps:
            continue
        if referral is by_command:
            for step in steps:
                await _act_by_command(stage, played.referral_ids[referral["identifier"]], step)
            continue
        name = referral["identifier"]
        order = {"bridge": stage.fhir, "identifier": name, "steps": steps}
        try:
            answer = await stage.plan.ask("POST", "/act", order)
        except PartnerTrouble as trouble:
            played.troubles.append(f"{name}: {trouble}")
            continue
        if not answer["ok"]:
            refused = answer["outcomes"][-1]
            played.troubles.append(f"{name}: {refused['act']} was answered {refused['status']}.")


async def _act_by_command(stage: Stage, referral_id: str, step: Mapping[str, Any]) -> None:
    on = ("--on", step["on"])
    if step["act"] == "decide":
        said = ("--status", step["status"], "--number", step["number"], "--basis", step["basis"])
        await stage.command("referral", "decide", referral_id, *said, *on)
    else:
        await stage.command("referral", "assign", referral_id, "--to", step["provider"], *on)


async def _outage(
    stage: Stage, script: Mapping[str, Any], played: Played, *, at_least: float
) -> None:
    """The EHR answers 503 from the first report to the last, and for `at_least` seconds."""
    clock = asyncio.get_running_loop().time
    began_at = clock()
    await stage.ehr.fault("answer=503")
    for round_ in range(_FIRST_REPORTS, int(script["rounds"]) + 1):
        if round_ % 2:
            await _plan_acts(stage, script["referrals"], round_, played)
        else:
            await _provider_files(stage, script, round_, played)
    await asyncio.sleep(max(0.0, at_least - (clock() - began_at)))
    await stage.ehr.heal()
    played.outage_seconds = clock() - began_at


async def _provider_files(
    stage: Stage, script: Mapping[str, Any], round_: int, played: Played
) -> None:
    """The hub's files of one round come in, both kinds at the same time but in the first."""

    async def of_one_kind(file: Mapping[str, Any]) -> None:
        service = file["service"]
        for number, warts in enumerate(_WARTS.get((round_, service), ((),)), start=1):
            name = f"rtf-{service}-round{round_}-{number}.csv"
            await _import(stage, played, name=name, service=service, rows=file["rows"], warts=warts)

    first, *others = [file for file in script["files"] if file["round"] == round_]
    if round_ == _FIRST_REPORTS:
        # Alone, so that the referral whose story is told meets the outage before others do.
        await of_one_kind(first)
        first, *others = others
    ended = await asyncio.gather(
        of_one_kind(first), *(of_one_kind(file) for file in others), return_exceptions=True
    )
    for failed in ended:
        if isinstance(failed, BaseException):
            raise failed


async def _import(
    stage: Stage,
    played: Played,
    *,
    name: str,
    service: str,
    rows: Sequence[Mapping[str, str]],
    warts: Sequence[str] = (),
) -> None:
    """The hub writes a file, the product's own command imports it."""
    order = {"file": name, "service": service, "rows": rows, "warts": warts}
    written = await stage.hub.ask("POST", "/rtf", order)
    layout = f"rtf-{service}"
    try:
        summary = await stage.command("import", written["path"], "--source", layout, "--from", _HUB)
    except BridgeError as error:
        if _NO_TABLE in warts:
            played.files_refused += 1
        else:
            played.troubles.append(f"{name}: {error}")
        return
    played.rows.update({count: int(summary[count]) for count in ROW_COUNTS})


async def _all_told(stage: Stage, played: Played) -> bool:
    """Whether no notice waits but those that a person has."""
    found = await _look(stage, played)
    notices = [notice for stood in found.values() for _, notice in stood.notices]
    return all(n.state != "pending" or n.escalated_at is not None for n in notices)


async def _look(stage: Stage, played: Played) -> dict[str, Stands]:
    return await stage.bridge.store.read_snapshot(stands, played.referral_ids)


async def _until(holds: Callable[[], Any], *, patience: float) -> None:
    """Look again and again, until it holds or patience runs out."""
    clock = asyncio.get_running_loop().time
    give_up_at = clock() + patience
    while not await holds() and clock() < give_up_at:  # noqa: ASYNC110  another process acts
        await asyncio.sleep(_LOOK_EVERY)
