"""What happens in the demo, as data: the plots, and which referral follows which.

`story` turns a plot's beats into the plan's steps and the providers' reports.
"""

from __future__ import annotations

# (round, beat, detail). `assign/2` is the second provider; a `when` waits for a referral status.
PLOTS: dict[str, tuple[tuple[int, str, str], ...]] = {
    "served": (
        (1, "approved", "prior"), (1, "assign/1", ""), (2, "accepted", ""),
        (4, "outreach-initiated", ""), (6, "loop-closed", "services-received"),
    ),
    "served-modified": (
        (1, "approved-modified", "prior"), (1, "assign/1", ""), (2, "accepted", ""),
        (6, "loop-closed", "services-received"),
    ),
    "served-after-deferral": (
        (1, "deferred", "prior"), (3, "approved", "prior"), (3, "assign/1", ""),
        (4, "accepted", ""), (6, "loop-closed", "services-received"),
    ),
    "served-outside": (
        (1, "approved", "retroactive"), (1, "assign/1", ""), (2, "accepted", ""),
        (4, "loop-closed", "services-received"),
    ),
    "closed-by-plan": (
        (1, "approved", "not-required"), (1, "assign/1", ""), (5, "close", "services-received"),
    ),
    "reassigned": (
        (1, "approved", "prior"), (1, "assign/1", ""), (2, "declined", ""),
        (3, "assign/2", "when declined"), (4, "accepted", ""),
        (6, "loop-closed", "services-received"),
    ),
    "nobody-takes-it": (
        (1, "approved", "prior"), (1, "assign/1", ""), (2, "declined", ""),
        (3, "assign/2", "when declined"), (4, "declined", ""),
        (5, "close", "provider-declined"),
    ),
    "unreachable": (
        (1, "approved", "prior"), (1, "assign/1", ""), (2, "accepted", ""),
        (4, "outreach-initiated", ""), (6, "loop-closed", "unable-to-reach"),
    ),
    "member-declined": (
        (1, "approved", "prior"), (1, "assign/1", ""), (2, "accepted", ""),
        (4, "loop-closed", "member-declined"),
    ),
    "no-longer-eligible": (
        (1, "approved", "prior"), (1, "assign/1", ""), (2, "outreach-initiated", ""),
        (4, "loop-closed", "no-longer-eligible"),
    ),
    "denied": ((1, "denied", "prior"),),
    "presumptive-denied": (
        (1, "pending", "presumptive"), (1, "assign/1", ""), (2, "accepted", ""),
        (4, "outreach-initiated", ""), (5, "denied", "when outreach-initiated"),
    ),
    "open": (
        (1, "approved", "prior"), (1, "assign/1", ""), (2, "accepted", ""),
        (4, "outreach-initiated", ""),
    ),
}  # fmt: skip

# service, requester, plot, providers in the order they are asked
CAST: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("ecm", "river-clinic", "served", ("harbor-ecm",)),
    ("ecm", "river-clinic", "presumptive-denied", ("harbor-ecm",)),
    ("ecm", "river-clinic", "denied", ()),
    ("ecm", "river-clinic", "reassigned", ("harbor-ecm", "hearth-homes")),
    ("ecm", "river-clinic", "unreachable", ("harbor-ecm",)),
    ("ecm", "river-clinic", "member-declined", ("harbor-ecm",)),
    ("ecm", "valley-county", "served", ("harbor-ecm",)),
    ("ecm", "valley-county", "no-longer-eligible", ("harbor-ecm",)),
    ("housing-transition-navigation", "river-clinic", "served", ("hearth-homes",)),
    ("housing-transition-navigation", "river-clinic", "reassigned", ("hearth-homes", "harbor-ecm")),
    ("housing-transition-navigation", "valley-county", "unreachable", ("hearth-homes",)),
    ("housing-deposits", "river-clinic", "served-modified", ("hearth-homes",)),
    ("housing-tenancy-sustaining", "river-clinic", "member-declined", ("hearth-homes",)),
    ("medically-tailored-meals", "river-clinic", "served", ("kitchen-table-meals",)),
    ("medically-tailored-meals", "river-clinic", "denied", ()),
    ("medically-tailored-meals", "valley-county", "served", ("kitchen-table-meals",)),
    ("medically-tailored-meals", "river-clinic", "unreachable", ("kitchen-table-meals",)),
    ("recuperative-care", "river-clinic", "served", ("hearth-homes",)),
    ("recuperative-care", "valley-county", "nobody-takes-it", ("hearth-homes", "harbor-ecm")),
    ("personal-care-homemaker", "river-clinic", "served", ("harbor-ecm",)),
    ("personal-care-homemaker", "valley-county", "member-declined", ("harbor-ecm",)),
    ("asthma-remediation", "river-clinic", "served", ("hearth-homes",)),
    ("asthma-remediation", "river-clinic", "served-after-deferral", ("hearth-homes",)),
    ("respite-services", "river-clinic", "served", ("harbor-ecm",)),
    ("sobering-centers", "river-clinic", "served-outside", ("hearth-homes",)),
    ("doula", "river-clinic", "closed-by-plan", ("harbor-ecm",)),
    ("ecm", "member", "served", ("harbor-ecm",)),
    ("medically-tailored-meals", "late-start-clinic", "served", ("kitchen-table-meals",)),
    ("ecm", "unregistered", "served", ("harbor-ecm",)),
    ("day-habilitation", "river-clinic", "open", ("hearth-homes",)),
)
