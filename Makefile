# Every command a developer or a user of this repository types. `make` alone prints help.
# Needs Python >= 3.11 and make; everything else comes from the package index into .venv.

PYTHON ?= python3
VENV ?= .venv
UV_VERSION := 0.13.9
# BOOTSTRAP=pip installs with plain pip (for indexes that only pip is configured for); auto prefers uv.
BOOTSTRAP ?= auto
BIN := $(VENV)/bin
MANIFESTS := $(sort $(wildcard libs/*/pyproject.toml services/*/pyproject.toml tools/*/pyproject.toml))
MEMBERS := $(MANIFESTS:%/pyproject.toml=%)
STAMP := $(VENV)/.installed
LOAD := build/bench/load
S ?=

.DEFAULT_GOAL := help
.PHONY: help install run test e2e fmt lint types imports migrate migration openapi bench figures lock clean

help: ## Show this list
	@echo "Flotilla: a fleet manager for osquery. Commands:"
	@echo
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Start with:  make run      (then follow the screen it prints)"
	@echo "Prove it:    make test     (make test S=live-query: one part only)"

install: $(STAMP) ## Create .venv and install everything at the pinned versions

$(STAMP): requirements.lock pyproject.toml $(MANIFESTS) tools/bootstrap.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" UV_VERSION="$(UV_VERSION)" BOOTSTRAP="$(BOOTSTRAP)" sh tools/bootstrap.sh $(MEMBERS)
	@touch $@

run: install ## Start the whole system on this machine, with 20 simulated hosts (Ctrl-C stops it)
	@$(BIN)/python -m flotilla_stack run $(ARGS)

test: install ## Everything that must be green: lint, types, imports, all tests on real servers
	@$(BIN)/python tools/check.py $(S)

e2e: install ## Only the end-to-end story through the two doors
	@$(BIN)/python -m pytest tests/e2e

fmt: install ## Format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: install ## Check style and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: install ## mypy --strict
	@$(BIN)/mypy

imports: install ## Who may import whom (import-linter)
	@$(BIN)/lint-imports

migrate: install ## Bring a database and a bus up to this release (FLOTILLA_* settings say which)
	@$(BIN)/python -m flotilla_common.provision

migration: install ## New migration from the tables' difference: make migration m="add carves"
	@$(BIN)/python -m flotilla_common.db.new_migration "$(m)"

openapi: install ## Write docs/openapi.json from admin-api
	@$(BIN)/python -m admin_api.openapi docs/openapi.json

bench: install $(if $(filter -h --help,$(ARGS)),,$(LOAD)) ## Measure; results in bench/results (ARGS="--help": the parts)
	@$(BIN)/python bench/run.py $(ARGS)

figures: install ## Write the figures of bench/results into the README
	@$(BIN)/python -m bench.render

# Without a compiler the parts of the bench that need no load client still run; the others say what is missing.
$(LOAD): $(wildcard bench/load/*.c bench/load/*.h)
	@mkdir -p $(@D)
	@echo "Compiling the load client ..."
	@$(CC) -std=c11 -O2 -Wall -Wextra -o $@ $(filter %.c,$^) -lssl -lcrypto || rm -f $@

lock: install ## Resolve requirements.lock anew from the members' pyproject.toml files (needs uv)
	@sh tools/lock.sh $(MEMBERS)

clean: ## Remove the virtual environment, caches and the data of make run
	@PYTHONPATH=tools/stack/src "$$(test -x $(BIN)/python && echo $(BIN)/python || echo "$(PYTHON)")" -m flotilla_stack.unused .flotilla
	rm -rf $(VENV) build/bench .flotilla .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
