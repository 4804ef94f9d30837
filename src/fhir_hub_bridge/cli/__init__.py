"""The command line: one module a family of commands; each imports late, so that help is quick."""


def main() -> None:
    """Run the command that was typed, then exit: 0 done, 1 problems in the input, 2 wrong use."""
    from fhir_hub_bridge.cli.app import run

    raise SystemExit(run())
