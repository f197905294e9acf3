# What CI runs is what you run: `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
GRID ?= data/grids/report.yaml
TEST_PROCESSES ?= 2
# Tests write thousands of small files and wait for each: where there is room, into memory instead of onto the disk.
MEMORY := $(if $(TMPDIR),,$(shell test -w /dev/shm && test $$(df -Pk /dev/shm | awk 'NR == 2 {print $$4}') -gt 2000000 && echo /dev/shm))
PYTEST := $(if $(MEMORY),TMPDIR=$(MEMORY) )$(BIN)/python -m pytest
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
.DEFAULT_GOAL := help
.PHONY: help install demo report test test-fast test-slow test-cluster chaos bench lint fmt docs lock audit clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(PIP) --editable '.[dev]'
	touch $@

install: .venv/installed ## Make .venv and install mnistjobs into it

demo: .venv/installed ## Run the quickstart study: real digits, no download, under a minute
	$(BIN)/mnistjobs submit data/grids/quickstart.yaml

report: .venv/installed ## Run the full study on MNIST: 40 trials of 100 epochs
	$(BIN)/mnistjobs submit $(GRID)

# Each process begins with one half of the tests in their order, so that what the tests of a file share is made once.
TOGETHER := --numprocesses $(TEST_PROCESSES) --dist worksteal
FAST := not ray and not medium and not slow and not chaos and not several_nodes

test: .venv/installed-dev ## Run the test suite, in two processes: about five minutes on two cores
	$(PYTEST) $(TOGETHER)

test-fast: .venv/installed-dev ## Run what needs neither Ray nor half a second: within a minute on two cores
	$(PYTEST) $(TOGETHER) -m "$(FAST)"

test-slow: .venv/installed-dev ## Run the rest: Rays that are killed, clusters, waits; within ten minutes on two cores
	$(PYTEST) $(TOGETHER) -m "slow and not chaos"

test-cluster: .venv/installed-dev ## Run a study on several hosts in namespaces of this machine; needs root, minutes long
	$(PYTEST) -m several_nodes

chaos: .venv/installed-dev ## Kill studies and detached jobs a hundred times each and compare their results; about an hour
	$(BIN)/python tests/chaos.py --kills 100 --seed 0
	$(BIN)/python tests/chaos_detached.py --kills 100 --seed 0
	$(BIN)/python -m pytest -m chaos
	MNISTJOBS_FLIPS=10000 $(BIN)/python -m pytest tests/test_bit_flips.py

bench: .venv/installed-dev ## Measure the figures of docs/performance.md again; about 15 minutes
	$(PIP) --editable '.[bench]'
	missed=; for name in mlp cnn workers overhead first_trial scale bucket page; do \
		$(BIN)/python benchmarks/$$name.py || missed="$$missed $$name"; done; \
	test -z "$$missed" || { echo "limits missed:$$missed"; exit 1; }

lint: .venv/installed-dev ## Check format, style, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: .venv/installed-dev ## Format the code and sort its imports
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/installed-dev ## Generate docs/api.md, docs/columns.md and docs/grid.md from the code
	$(BIN)/python docs/generate.py

lock: .venv/installed-dev ## Write the versions installed in .venv to constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/\+cpu$$//' > constraints.txt

audit: ## Check the pinned packages for known vulnerabilities; needs the internet
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.venv/audit/bin/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt

clean: ## Remove .venv and caches; results are kept
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
