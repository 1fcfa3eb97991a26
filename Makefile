# Everything sets itself up: the first target that needs it makes the virtual environment and installs the package.
# Use another interpreter with `make PYTHON=python3.12 ...`; an active virtual environment is used as it is.
PYTHON ?= $(firstword $(shell command -v python3.11 python3 python))
VENV ?= $(if $(VIRTUAL_ENV),$(VIRTUAL_ENV),.venv)
BIN := $(VENV)/bin
STAMP := $(VENV)/.clipbert-installed
PYTEST_WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install format lint test test-slow quickstart bench clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python found: install Python 3.11 or newer, or pass PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $(PYTHON) is older: pass PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $(STAMP)

install: $(STAMP) ## Virtual environment with the package and what its development needs

format: install ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: install ## Linters; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test: install ## Quick tests (minutes on two cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile

test-slow: install ## The tests that take longer
	$(BIN)/python -m pytest -m "slow and not gpu" --timeout=3600

quickstart: install ## Fine-tune a small model on generated videos, then search them (minutes on two cores)
	$(BIN)/python train_scripts/quickstart.py

bench: install ## Speed against a naive baseline, as ratios
	$(BIN)/python -m benchmarks.run_all

clean: ## Remove caches and build products, not the virtual environment
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -type d -prune -exec rm -rf {} +
