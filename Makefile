# Every target sets up what it needs in .venv on a machine that has Python 3.11 (pip, venv) and make.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test lint types check bench bench-large faults lock clean
help:            ## what can be made
	@grep -E '^[a-z-]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

.venv/installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(f"Penstock needs Python 3.11 or later, this is {v}: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

setup: .venv/installed  ## install everything into .venv, once

demo: setup      ## real data from real sources into a DuckDB warehouse in ./penstock-demo
	$(BIN)/penstock demo

test: setup      ## every test; warnings are errors
	$(BIN)/python -m pytest -n $(WORKERS)

lint: setup      ## style and likely bugs
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench

types: setup     ## strict mypy
	$(BIN)/mypy

check: lint types test  ## what CI runs

faults: setup    ## the whole fault harness: 200 kills for each write mode, 2,000 schedules, every mutant
	PENSTOCK_KILLS=200 PENSTOCK_SEEDS=2000 $(BIN)/python -m pytest tests/faults -n $(WORKERS)

bench/.venv/installed: bench/requirements.txt
	test -x bench/.venv/bin/python || $(PYTHON) -m venv bench/.venv
	bench/.venv/bin/python -m pip install --quiet -r bench/requirements.txt
	touch $@

bench/.penstock/installed: pyproject.toml requirements.lock
	test -x bench/.penstock/bin/python || $(PYTHON) -m venv bench/.penstock
	bench/.penstock/bin/python -m pip install --quiet -c requirements.lock -e '.[postgres]'
	touch $@

bench: setup bench/.penstock/installed bench/.venv/installed  ## Penstock and its peers on the same work
	$(BIN)/python bench/run.py $(BENCH)

bench-large: setup bench/.penstock/installed  ## 30 M rows through Penstock alone: what bounded memory means
	$(BIN)/python bench/run.py --large --only penstock

lock:            ## requirements.lock again, from the newest versions that pyproject allows
	rm -rf .lock && $(PYTHON) -m venv .lock
	.lock/bin/python -m pip install --quiet '.[dev]'
	{ echo '# Made by `make lock`: exact versions of .[dev], for Python 3.11 on Linux.'; \
	  .lock/bin/python -m pip freeze --exclude penstock; } > requirements.lock
	rm -rf .lock

clean:           ## remove what make made
	rm -rf .venv bench/.venv bench/.penstock bench/work bench/results .lock build dist penstock-demo
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
