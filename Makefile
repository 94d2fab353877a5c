# `make demo` and `make test` need Python 3.11+, make and git; everything else is set up here, without root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean setup lock

help:            ## list the targets
	@grep -E '^[a-z]+: .*##|^[a-z]+:  *##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(READY): constraints.txt pyproject.toml
	@echo "==> Setting up $(VENV): pinned packages with hashes, about 160 of them; one to three minutes the first time"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Penstock needs Python 3.11 or newer; %s is %s. Set PYTHON=/path/to/python3.11." % (sys.executable, sys.version.split()[0]))'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

setup: $(READY)  ## make the virtual environment

demo: $(READY)   ## run the whole pipeline on the example boards, no model and no account needed
	@$(BIN)/penstock demo

test: $(READY)   ## run the tests
	@echo "==> Running the tests (embedded Postgres, a real Prefect server, a simulated model server)"
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(READY)   ## static checks: ruff, mypy --strict, import contracts
	@echo "==> ruff"; $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "==> mypy --strict"; $(BIN)/mypy
	@echo "==> import contracts"; $(BIN)/lint-imports

bench: $(READY)  ## print the figures; NAME=x runs one, QUICK=1 in about a minute
	@$(BIN)/python -m bench $(if $(NAME),--name $(NAME)) $(if $(QUICK),--quick)

lock:            ## resolve the pins anew (needs uv on the PATH)
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate --upgrade -o constraints.txt

clean:           ## remove what was built here (never your data in PENSTOCK_HOME)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench/.peers build dist penstock-report
