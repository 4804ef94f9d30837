# What a newcomer needs: `make demo` and `make test`. Everything else is a part of one of them.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: setup demo test check bench bench-full serve clean
.DEFAULT_GOAL := demo

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed (none found); name one with: make PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "This Python cannot make a virtual environment; on Debian or Ubuntu: apt-get install python3-venv"; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: setup        ## the whole loop, with sandbox partners: make demo ARGS="--once --json"
	@$(BIN)/fhir-hub-bridge demo $(ARGS)

serve: setup       ## the FHIR API and the console on loopback, no login
	@$(BIN)/fhir-hub-bridge serve --open $(ARGS)

check: setup       ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Without ARGS the whole suite runs and the rules and jobs must be covered by it: side by side what
# computes, then one by one what starts processes and watches the clock.
COVERAGE := $(foreach room,referral mapping intake delivery,--cov=fhir_hub_bridge.$(room))
SIDE_BY_SIDE := -n auto --maxprocesses=4 --dist=loadfile tests/unit tests/spec tests/examples tests/integration
ONE_BY_ONE := tests/architecture tests/journeys

test: check        ## every promise, on SQLite and on a PostgreSQL that the tests start: make test ARGS="-k spec"
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(COVERAGE) --cov-report=
	$(BIN)/python -m pytest $(ONE_BY_ONE) $(COVERAGE) --cov-append --cov-report=term:skip-covered --cov-fail-under=95
endif

bench: setup       ## figures, at most ten minutes
	$(BIN)/python -m bench $(ARGS)

bench-full: setup  ## the full sizes
	$(BIN)/python -m bench --full $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis bench/out
