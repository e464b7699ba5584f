# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Every target makes the virtual environment when it is missing or older than what it is made of.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# what the benchmarks compare with
PEERS := .bench-venv/.installed

.PHONY: demo test lint screenshots bench demo-train clean install
.DEFAULT_GOAL := demo

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "microscope_tui needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 …" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable .
	@touch $@

demo: $(STAMP)
	$(BIN)/microscope-tui demo

test: $(STAMP) lint
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

screenshots: $(STAMP)
	$(BIN)/python screenshots/make.py

# All but the slow ones; `python -m benchmarks --help` names them, and `python -m benchmarks coverage` runs one.
bench: $(STAMP) $(PEERS)
	$(BIN)/python -m benchmarks

$(PEERS): $(STAMP)
	$(BIN)/python -m benchmarks geometry -- --install
	@touch $@

# The demo's models from nothing, every arm and two seeds: hours on a CPU; it goes on where it was stopped.
demo-train: $(STAMP)
	$(BIN)/python -m microscope_tui.demo.train

clean:
	rm -rf $(VENV) .bench-venv dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
