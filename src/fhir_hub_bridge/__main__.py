"""`python -m fhir_hub_bridge` is the command `fhir-hub-bridge`."""

from fhir_hub_bridge.cli import main

if __name__ == "__main__":
    main()
