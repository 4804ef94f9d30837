"""Who is who: partners with their notification agreements, and which party may do which act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal, assert_never

from fhir_hub_bridge.errors import RuleBroken
from fhir_hub_bridge.referral.model import (
    Act,
    Amend,
    Assign,
    Decide,
    PartnerId,
    Party,
    Refer,
    Referral,
    Report,
    Withdraw,
)

PartnerKind = Literal["managed-care-plan", "hub", "provider", "referring-entity"]
Method = Literal["fhir-push", "file-drop"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How plan and referring entity settled to be told: method, place, what counts as told."""

    method: Method
    endpoint: str  # FHIR base URL, or the folder of the drop
    proof: Literal["2xx", "acknowledgement"]
    notify_from: date
    every_status: bool = False  # told of every referral status, not only what is always owed
    task_view: bool = False  # sent the partner's view of the Task beside the Communication
    single_requests: Literal["", "put", "post"] = ""  # for servers that take no transaction
    agreed_on: date | None = None
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Partner:
    """An organisation we exchange referrals with."""

    id: PartnerId
    name: str
    kind: PartnerKind
    npi: str = ""
    tin: str = ""
    plan_codes: tuple[str, ...] = ()  # what files call this plan
    aliases: tuple[str, ...] = ()  # other names files call it by
    cin_system: str = ""
    member_number_system: str = ""
    acts_for: tuple[PartnerId, ...] = ()  # plans or providers it may act for
    delegated: tuple[Literal["decide", "assign"], ...] = ()  # the plans' acts delegated to it
    email: str = ""
    phone: str = ""
    agreement: Agreement | None = None

    @property
    def party(self) -> Party:
        """This partner as a party."""
        return Party(name=self.name, npi=self.npi, tin=self.tin, partner=self.id)


def recognise(party: Party, partners: Sequence[Partner]) -> Party:
    """The party with its partner filled in, where one has its NPI, else its TIN.

    A name alone never recognises anybody. Of several with one TIN none is chosen.
    """
    if party.partner:
        return party
    for found in (
        [p for p in partners if party.npi and p.npi == party.npi],
        [p for p in partners if party.tin and p.tin == party.tin],
    ):
        if len(found) == 1:
            return replace(party, partner=found[0].id, name=party.name or found[0].name)
    return party


def recognise_plan(code: str, name: str, partners: Sequence[Partner]) -> Party:
    """The plan that a file calls by this code or, failing that, by exactly this name or alias."""
    plans = [p for p in partners if p.kind == "managed-care-plan"]
    by_code = [p for p in plans if code and code in p.plan_codes]
    folded = name.casefold().strip()
    by_name = [
        p for p in plans if folded and folded in {n.casefold() for n in (p.name, *p.aliases)}
    ]
    for found in (by_code, by_name):
        if len(found) == 1:
            return found[0].party
    return Party(name=name or code)


def plan_by_now(plan: Party, partners: Sequence[Partner]) -> Party:
    """A referral's plan; one that a file only named may have been registered since."""
    if plan.partner or not plan.is_named:
        return plan
    return recognise_plan(plan.name, plan.name, partners)


def registered(id_: str | None, partners: Sequence[Partner]) -> Partner | None:
    """The partner of this id; None for one that is not registered."""
    return next((p for p in partners if p.id == id_), None)


def check_may(
    act: Act, *, by: Party, referral: Referral | None, partners: Sequence[Partner]
) -> None:
    """Raise RuleBroken (`wrong-party`) unless this party may do this act on this referral.

    Raise RuleBroken (`not-a-provider`) where a partner of another kind is to be the provider.

    Anyone may refer. Only the plan, or a hub to which it delegated the act, decides and assigns.
    A provider, or a hub acting for it, reports on its own assignment; the plan's side on any, and
    it alone speaks of a referral without naming a provider. Only who made a referral, or a partner
    acting for it, withdraws it; who may amend what was sent is its sender, whom the door knows.
    """
    if isinstance(act, Assign):
        _check_provides(act.provider, partners)
    if isinstance(act, Refer | Amend) or referral is None:
        return
    if not isinstance(act, Withdraw) and _is_plan(by, referral.plan, partners):
        return
    mine = registered(by.partner, partners)
    acts_for = mine.acts_for if mine else ()
    delegated = mine.delegated if mine else ()
    for_plan = referral.plan.partner is not None and referral.plan.partner in acts_for
    match act:
        case Decide():
            allowed = for_plan and "decide" in delegated
        case Assign() if referral.inferred and not referral.assignments:
            allowed = True  # opened from its provider's own file: it is there already
        case Assign():
            allowed = for_plan and "assign" in delegated
        case Report(provider=provider):
            allowed = for_plan or (
                provider.is_named and (by.is_same_as(provider) or provider.partner in acts_for)
            )
        case Withdraw():
            requester = referral.requester
            allowed = by.is_same_as(requester) or by == requester or requester.partner in acts_for
        case _:
            assert_never(act)
    if not allowed:
        who = by.partner or "an unknown party"
        verb = type(act).__name__.lower()
        raise RuleBroken("wrong-party", f"{who} may not {verb} on this referral.")


def _check_provides(provider: Party, partners: Sequence[Partner]) -> None:
    partner = registered(provider.partner, partners)
    if partner is not None and partner.kind not in ("provider", "hub"):
        raise RuleBroken("not-a-provider", f"{partner.id} is registered as a {partner.kind}.")


def _is_plan(by: Party, plan: Party, partners: Sequence[Partner]) -> bool:
    return by.is_same_as(plan_by_now(plan, partners))
