"""What the demo says on a terminal: one story, the totals, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from fhir_hub_bridge.demo.totals import Totals
from fhir_hub_bridge.referral.rulebook import Rulebook
from fhir_hub_bridge.store.console_queries import Story
from fhir_hub_bridge.terminal import tell_story

_ROWS: Final = (
    ("Closed-loop referrals", "loops_total", ""),
    ("  closed as their script expects", "loops_closed", "of {loops_expected_closed}"),
    ("Notices owed", "notices_owed", ""),
    ("  confirmed, with proof", "notices_confirmed", ""),
    ("  withheld, with the rule", "notices_withheld", ""),
    ("  pending", "notices_pending", "{notices_escalated} of them with a named person"),
    ("  late", "notices_late", ""),
    ("  lost (by the partners' journals)", "notices_lost", ""),
    ("  copies sent again, byte for byte", "duplicates_received", ""),
    ("Outage: states told in order", "outage_states_delivered", "after {outage_seconds} s of 503"),
    ("File rows read", "rows_read", ""),
    ("  recorded", "rows_recorded", ""),
    ("  unchanged", "rows_unchanged", ""),
    ("  for a person to look at", "rows_review", ""),
    ("  rejected, back to the sender", "rows_rejected", ""),
    ("Files refused as a whole", "files_refused", "nothing of them is stored"),
    ("Memory, serve and worker", "memory_mib", "MiB"),
    ("Seconds", "seconds", ""),
)


def tell_ending(totals: Totals, story: Story, rulebook: Rulebook, *, console: Console) -> None:
    """The story of the referral that had the outage, then the totals."""
    console.print(Rule("One referral, from beginning to end"))
    tell_story(story, rulebook, console=console)
    console.print(
        "While it passed Accepted, Outreach Initiated and Loop Closed, the EHR answered 503 for "
        "{outage_seconds} s and turned {outage_tries_refused} tries away; then all "
        "{outage_states_delivered} arrived, in order.".format_map(totals.values)
    )
    console.print(Rule("All of them"))
    console.print(_table(totals.values))
    console.print(f"What the EHR got, on disk before it answered: {totals.values['journal_path']}")
    for problem in totals.problems:
        console.print(Text(f"Not as it should be: {problem}", style="bold red"))
    if totals.is_good:
        console.print(Text("Every loop and every notice came to its end.", style="bold green"))


def tell_what_next(
    *, database: str, address: str, is_open: bool, folder: str, console: Console
) -> None:
    """How to try a file of one's own, and where to look."""
    console.print(Rule("Try a file of your own"))
    named = f' --database "{database}"' if is_open else ""
    command = f"fhir-hub-bridge import YOUR-FILE.csv --source rtf-ecm --unmatched open{named}"
    console.print(f"  {command}", soft_wrap=True, highlight=False)
    if is_open:
        console.print(f"Console: {address}", soft_wrap=True)
        console.print(f"Partners, files and rejects: {folder}", soft_wrap=True, highlight=False)
        console.print("Ctrl-C stops everything.")
    else:
        console.print("  fhir-hub-bridge serve --open    and look at http://127.0.0.1:8480/console")


def _table(values: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right", style="bold")
    table.add_column(style="dim")
    for label, key, note in _ROWS:
        table.add_row(label, str(values[key]), note.format_map(values))
    return table
