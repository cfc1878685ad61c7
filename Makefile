# Everything runs in .venv, which `make` sets up by itself: python3 and make are all that is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := docker_model langchain_docker_model llama_index_docker_model
PYTEST := $(BIN)/python -m pytest

.PHONY: help bench demo test test-slow lint format typecheck clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	touch $@

$(VENV)/ready-for-work: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --group test --group lint
	touch $@

demo: $(VENV)/ready  ## discovers models, runs a chain and a query, streams, cancels
	$(BIN)/python examples/demo.py

test: $(VENV)/ready-for-work  ## the test suite
	$(PYTEST) -n 2 -m 'not slow'

test-slow: $(VENV)/ready-for-work  ## the tests that take minutes
	$(PYTEST) -n 2 -m slow

bench: $(VENV)/ready  ## everything side by side; writes benchmarks/RESULTS.md and plot.svg
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python benchmarks/bench.py --write

lint: $(VENV)/ready-for-work  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/ready-for-work  ## ruff, mending what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(VENV)/ready-for-work  ## mypy --strict
	$(BIN)/mypy $(SOURCES)

clean:
	rm -rf $(VENV) build dist
