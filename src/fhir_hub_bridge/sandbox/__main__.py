"""`python -m fhir_hub_bridge.sandbox PARTNER`: one pretend partner, alone.

Prints `ready http://HOST:PORT` when it listens. Modules are imported late: start is quick.
`cast` is no partner: it prints the demo's made-up referrals as one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import date
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the partner named until stopped; exit code 2 for wrong use."""
    options = vars(_parser().parse_args(argv))
    partner = options.pop("partner_role")
    if partner == "cast":
        from fhir_hub_bridge.sandbox.synthetic.script import whole_script

        script = whole_script(options["seed"], today=options["today"])
        print(json.dumps(script, ensure_ascii=False))  # noqa: T201
        return 0
    options["fault"] = options["fault"] or ()
    if options.pop("stop_with_parent"):
        threading.Thread(target=_stop_when_input_ends, daemon=True).start()
    try:
        match partner:
            case "plan":
                from fhir_hub_bridge.sandbox import plan

                plan.run(**options)
            case "hub":
                from fhir_hub_bridge.sandbox import hub

                hub.run(**options)
            case _:
                from fhir_hub_bridge.sandbox import referring_entity

                referring_entity.run(**options, role=partner)
    except (ValueError, OSError) as error:
        print(f"{partner}: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--host", default="127.0.0.1")
    shared.add_argument("--port", type=int, default=0, help="0 is any free port")
    shared.add_argument("--seed", type=int, default=1, help="the same seed mints the same ids")
    shared.add_argument("--journal", type=Path, help="JSON lines, fsynced; default: temporary")
    shared.add_argument("--fault", action="append", help="as 'answer=503 for=25s on=Task'")
    shared.add_argument("--stop-with-parent", action="store_true", help=argparse.SUPPRESS)
    parser = argparse.ArgumentParser(prog="python -m fhir_hub_bridge.sandbox", description=__doc__)
    roles = parser.add_subparsers(dest="partner_role", required=True)
    roles.add_parser("referring-entity", parents=[shared], help="an EHR with a FHIR server")
    roles.add_parser("provider", parents=[shared], help="a provider with a FHIR server of its own")
    plan = roles.add_parser("plan", parents=[shared], help="a managed care plan")
    plan.add_argument("--bridge", default="", help="FHIR base of the bridge")
    plan.add_argument("--partner", default="golden-plan", help="who it is to the bridge")
    plan.add_argument("--organization", default="", help="its Organization there, if another id")
    plan.add_argument("--script", type=Path, help="JSON: referral identifier to list of steps")
    plan.add_argument("--poll-seconds", type=float, default=1.0)
    hub = roles.add_parser("hub", parents=[shared], help="a community care hub")
    hub.add_argument("--out", type=Path, default=Path(), help="folder its files go to")
    hub.add_argument("--drop", type=Path, action="append", default=[], help="folder of notices")
    hub.add_argument("--poll-seconds", type=float, default=0.2)
    script = roles.add_parser("cast", help="the demo's made-up referrals, as JSON")
    script.add_argument("--seed", type=int, default=1)
    script.add_argument("--today", type=date.fromisoformat, required=True, help="as 2026-11-21")
    return parser


def _stop_when_input_ends() -> None:
    """Whoever started us holds the other end of standard input: its end is theirs."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
