# The one door: every target installs what it needs into .venv first.
#
# Python 3.11 or newer. The system's own comes first where it will do: distributions build theirs optimized (a plain build
# measured 12 % more CPU per request), and other users can reach it, so that a start as root runs HSM and service as two
# users. Another one: `make PYTHON=python3.12 …`.
USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in /usr/bin/python3 python3; do \
	$$python -c '$(USABLE)' 2>/dev/null && echo $$python && exit; done; echo python3)
VENV   := .venv
BIN    := $(VENV)/bin
# Worker processes of the test runner: the suite is sized for two cores.
TEST_WORKERS ?= 4
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help up install test test-long campaign mutation bench lint demo lock shapes docs clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

# A stamp is the lock file as it was installed: a changed lock installs again, an unchanged one costs nothing.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); } || { rm -rf $(VENV); exit 1; }
	@echo "installing pinned packages into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-test: requirements-test.lock $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-test.lock
	@touch $@

# Large clients, which the long suite alone runs: nobody waits for them before `make test`.
$(VENV)/.installed-clients: requirements-clients.lock $(VENV)/.installed-test
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-clients.lock
	@touch $@

install: $(VENV)/.installed  ## install Strongroom into .venv

up: install  ## start everything on the embedded default: loopback, development credentials, foreground
	@exec $(BIN)/strongroom up --dev $(ARGS)

test: $(VENV)/.installed-test  ## the suite a person waits for (at most 10 minutes on 2 cores)
	@$(PYTEST) -n $(TEST_WORKERS) -m "not long and not campaign" $(ARGS)

test-long: $(VENV)/.installed-clients  ## kill cycles, memory scans, long mutations (at most 40 minutes)
	@$(PYTEST) -m "long and not campaign" --timeout 1800 -o faulthandler_timeout=1860 $(ARGS)

campaign: $(VENV)/.installed-test  ## the full figures, by hand; record them in docs/campaigns.md
	@$(PYTEST) -m campaign --timeout 0 -o faulthandler_timeout=0 -s $(ARGS)

mutation: $(VENV)/.installed-test  ## plant every fault of the rooms that decide who may, one at a time; see docs/campaigns.md
	@$(BIN)/python -m tests.mutation $(ARGS)

bench: $(VENV)/.installed-test  ## requests/s, latency and CPU per request beside a bare server
	@$(BIN)/python -m tests.bench $(ARGS)

lint: $(VENV)/.installed-test  ## ruff, mypy --strict, the import walls
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

demo: install  ## the story of an envelope in the terminal, with a real 50 MB file
	@$(BIN)/strongroom demo $(ARGS)

shapes: $(VENV)/.installed-test  ## generate kms/wire/*shapes.py from the installed botocore's models
	@$(BIN)/python scripts/generate_shapes.py

docs: $(VENV)/.installed  ## generate what repeats the code's tables: docs/key-states.md, the actions of `strongroom iam`
	@$(BIN)/python scripts/generate_key_states.py
	@$(BIN)/python scripts/generate_iam_actions.py

lock:  ## pin the newest stable dependencies (needs uv, npm)
	uv pip compile --upgrade --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -q requirements.in -o requirements.lock
	uv pip compile --upgrade --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -q requirements-test.in -o requirements-test.lock
	uv pip compile --upgrade --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 -q requirements-clients.in -o requirements-clients.lock
	cd tests/clients/js && npm install --package-lock-only --save-exact --ignore-scripts --no-audit --no-fund --omit-lockfile-registry-resolved @aws-sdk/client-kms

clean:  ## remove .venv and everything generated
	rm -rf $(VENV) build src/*.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
