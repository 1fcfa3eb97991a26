# Everything sets itself up: the first target that needs it makes the virtual environment and installs the package.
# Use another interpreter with `make PYTHON=python3.12 ...`; an active virtual environment is used as it is, but for
# `make test-oldest`, which has its own.
PYTHON ?= $(firstword $(shell command -v python3.11 python3 python))
VENV ?= $(if $(VIRTUAL_ENV),$(VIRTUAL_ENV),.venv)
BIN := $(VENV)/bin
STAMP := $(VENV)/.clipbert-installed
OLDEST := .venv-oldest
PYTEST_WORKERS ?= 2
PYTEST = OMP_NUM_THREADS=1 $(1)/bin/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install format lint test test-browser test-slow test-oldest fuzz quickstart evidence less-is-more bench bench-gpu clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

.PHONY: python
python:
	@test -n "$(PYTHON)" || { echo "No Python found: install Python 3.11 or newer, or pass PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $(PYTHON) is older: pass PYTHON=..."; exit 1; }

$(STAMP): pyproject.toml setup.py | $(if $(wildcard $(BIN)/python),,python)
	@echo "Setting up $(VENV), once: minutes without a word; where torch is not there yet, some gigabytes are downloaded."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq --editable ".[dev]"
	@touch $(STAMP)

$(OLDEST)/.clipbert-installed: pyproject.toml setup.py tests/helpers/oldest_versions.py | python
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	@echo "Installing the oldest versions into $(OLDEST): some gigabytes more, once."
	$(OLDEST)/bin/python tests/helpers/oldest_versions.py pyproject.toml > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --upgrade pip
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/constraints.txt --editable ".[dev]"
	@touch $@

install: $(STAMP) ## Virtual environment with the package and what its development needs

format: install ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: install ## Linters; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test: install ## Quick tests (minutes on two cores)
	$(call PYTEST,$(VENV))

test-oldest: $(OLDEST)/.clipbert-installed ## The quick tests on the oldest versions that pyproject.toml allows
	$(call PYTEST,$(OLDEST))

test-browser: install ## The page over HTTP and in a Chromium of the system, where there is one (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "browser or slow" tests/demo

test-slow: install ## The tests that take longer
	$(BIN)/python -m pytest -m "(slow or browser) and not gpu" --timeout=3600

fuzz: install ## Damaged videos by the thousand: is a wrong picture returned in silence? (minutes on two cores)
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/decoding.py --mutants 2000

quickstart: install ## Fine-tune a small model on generated videos, then search them (minutes on two cores)
	$(BIN)/python -m clipbert.train_scripts.quickstart

GRID = $(BIN)/python -m clipbert.train_scripts.grid --jobs 2 --grid clipbert/grid_$(1).yaml

evidence: install ## Less is more, a part: one random clip beside 16, three seeds (a quarter of an hour on two cores)
	$(call GRID,clips) --cells steps_sparse_1 steps_dense_16

less-is-more: install ## Less is more, all of it: six grids, three seeds each (84 minutes on two cores without AVX-512)
	for grid in clips clips_qa frames end_to_end pretraining pixels; do $(call GRID,$$grid) || exit 1; done

bench: install ## Speed against a naive baseline, as ratios
	$(BIN)/python -m benchmarks.run_all

bench-gpu: install ## What needs an accelerator: its tests, then the speed of full-size models, as a report (minutes)
	$(BIN)/python -m benchmarks.gpu

clean: ## Remove caches and build products, not the virtual environment
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv*/*' -not -path './$(VENV)/*' -type d -prune -exec rm -rf {} +
