"""The law of rows, for any mix of them: all that was read is recorded, unchanged, in review or
rejected, and the same file again records nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.builders import CIN, HARBOR, HEARTH, register
from tests.stored_loops import a_file, a_row, counts, facts, imported, referrals

from fhir_hub_bridge.store.transaction import Store

REASONS = ("", "", "Services Received", "Service Provider Declined", "Other", "Went well")
rows = st.builds(
    a_row,
    plan=st.sampled_from(["MCP000", "MCP777", ""]),
    cin=st.sampled_from([CIN, "91234567A", "92345678B", "1"]),
    npi=st.sampled_from([HARBOR.npi, HEARTH.npi, "", "1234567890"]),
    provider=st.sampled_from(["", "Nameless Example"]),
    status=st.sampled_from(
        ["Pending", "Accepted", "Declined", "Outreach Initiated", "Referral Loop Closed", "", "?"]
    ),
    on=st.sampled_from(["11/03/2026", "11/09/2026", "2026-11-12", "11/29/2026", ""]),
    reason=st.sampled_from(REASONS),
    text=st.sampled_from(["", "Made-up words"]),
)


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(mix=st.lists(rows, min_size=1, max_size=12), policy=st.sampled_from(["", "review", "open"]))
async def test_every_row_read_has_one_fact(
    store: Store, mix: list[dict[str, str]], policy: str
) -> None:
    await register(store)
    with tempfile.TemporaryDirectory() as folder:
        path = a_file(Path(folder), mix)

        first = await imported(store, path, unmatched=policy)
        between = await counts(store)
        again = await imported(store, path, unmatched=policy)

    recorded, unchanged, in_review, rejected = facts(first)
    assert first.rows_read == len(mix)
    assert again.rows_read == len(mix)
    same = facts(again)
    assert same[0] == 0
    assert same[1] >= recorded + unchanged
    assert same[3] == rejected
    assert same[1] + same[2] == recorded + unchanged + in_review
    after = await counts(store)
    for table in ("referral", "referral_event", "resource", "notice"):
        assert after[table] == between[table]
    await referrals(store)  # each is what its events make of it
