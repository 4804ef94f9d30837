"""A sender changes its own ServiceRequest or Patient in an open referral: amended or taken back.

What is amended travels to the providers' copies; who is referred, and by whom, does not change.
Before: `receive_fhir`. After: `record_referral`.
"""

from __future__ import annotations

from collections.abc import Collection

from fhir_hub_bridge.errors import RuleBroken
from fhir_hub_bridge.fhir import canonical
from fhir_hub_bridge.fhir.bundle import Entry
from fhir_hub_bridge.fhir.codec import Json
from fhir_hub_bridge.intake.fhir_work import FhirWork, check_version, cin_systems
from fhir_hub_bridge.intake.record_referral import Given, resource_ids, stored_resources
from fhir_hub_bridge.mapping.cell_values import Fault, read_cin
from fhir_hub_bridge.mapping.fixed_elements import names_the_same
from fhir_hub_bridge.referral.model import Act, Amend, ReferralUpdate, Withdraw
from fhir_hub_bridge.store.referrals import load
from fhir_hub_bridge.store.resources import Stored, read, unstamped

_FIXED = ("subject", "requester", "intent")
_TAKEN_BACK = ("revoked", "entered-in-error")
_ITS_SENDERS_OWN = ("status", "meta", "text")  # where it stands for its sender; no wish


def amend_referral(work: FhirWork, entry: Entry, stored: Stored) -> bool:
    """Record what this update says to an open referral; False where it says nothing to one.

    The caller has made sure that it comes from the sender. Raises VersionConflict, RuleBroken.
    """
    assert entry.resource is not None  # noqa: S101  # the caller filtered
    if entry.type not in ("ServiceRequest", "Patient") or not stored.referral_id:
        return False
    referral = load(work.conn, stored.referral_id, lock=True)
    ids = resource_ids(referral)
    reference = f"{entry.type}/{entry.id}"
    own = (f"ServiceRequest/{ids.service_request}", f"Patient/{ids.patient}")
    if reference not in own:
        return False
    stored = read(work.conn, entry.type, stored.id)  # as it is now that the lock is held
    check_version(entry, stored.version)
    before, after = unstamped(stored.parsed()), unstamped(entry.resource)
    if entry.type == "ServiceRequest":
        _check_fixed(work, before, after)
    else:
        _check_same_person(work, before, after)
    if referral.referral.closure is not None:
        return False  # stored as sent: there is nobody left to tell
    act = _act(work, before, after)
    if act is None:
        return False
    # its sender speaks for whoever referred and has no client, as it did when it sent the referral
    requester = referral.referral.requester
    by = work.caller if work.asked.caller and requester.partner else requester
    found = stored_resources(work.conn, [referral]) | {reference: stored}
    update = ReferralUpdate(work.told(by), (act,))
    given = Given(edited={reference: after})
    work.record(update, referral, given, salt=str(entry.id), found=found)
    work.versions.setdefault(reference, stored.version)
    return True


def _check_fixed(work: FhirWork, before: Json, after: Json) -> None:
    """The service is not among them: providers stay asked for the one that was referred to."""
    for name in _FIXED:
        if not names_the_same(before.get(name), after.get(name), resource=work.resource):
            place = f"ServiceRequest.{name}"
            message = f"{place} does not change; refer anew with `replaces`."
            raise RuleBroken("fixed-element", message, place=place)


def _check_same_person(work: FhirWork, before: Json, after: Json) -> None:
    """A CIN that was missing may be added; with another one she is somebody else."""
    systems = cin_systems(work.partners) | {canonical.MEDI_CAL_CIN}
    known, told = _cins(before, systems), _cins(after, systems)
    if known and known != told:
        message = "The CIN of a referred person does not change; refer anew with `replaces`."
        raise RuleBroken("another-person", message, place="Patient.identifier")


def _cins(patient: Json, systems: Collection[str]) -> set[str]:
    """As they are compared, however they are written."""
    named = [i for i in patient.get("identifier", []) if i.get("system") in systems]
    values = [str(i["value"]) for i in named if i.get("value")]
    read = {value: read_cin(value) for value in values}
    return {value if isinstance(cin, Fault) else cin[0] for value, cin in read.items()}


def _act(work: FhirWork, before: Json, after: Json) -> Act | None:
    today = work.reading().today
    status = after.get("status") if after["resourceType"] == "ServiceRequest" else None
    if status in _TAKEN_BACK and before.get("status") != status:
        return Withdraw(today)
    changed = sorted(
        f"{after['resourceType']}.{name}"
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name) and name not in _ITS_SENDERS_OWN
    )
    return Amend(today, tuple(changed)) if changed else None
