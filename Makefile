# Everything runs in .venv, which `make` sets up by itself: python3 and make are all that is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := docker_model langchain_docker_model llama_index_docker_model
PYTEST := $(BIN)/python -m pytest

# The tests start Python some hundred times, which compiles the package but once.
unexport PYTHONDONTWRITEBYTECODE

# The lowest versions of the frameworks that pyproject.toml allows.
LOWEST := langchain-core==1.6.0 llama-index-core==0.14.0
FRAMEWORK_TESTS := tests/unit/langchain tests/unit/llama_index tests/examples

# Threads, signals and cancellation; no framework, since LangChain needs orjson, which has no wheel
# for a free-threaded Python.
FREE_THREADED_TESTS := tests/unit/runtime tests/contract tests/faults/test_concurrency.py \
	tests/faults/test_cancel_moments.py tests/faults/test_cancellation.py

.PHONY: help bench coverage demo test test-plugin test-windows test-slow soak test-matrix test-free-threaded lint format typecheck docs dist clean

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

# Three workers even on two cores: many tests wait for a process.
test: $(VENV)/ready-for-work  ## the test suite
	$(PYTEST) -n 3 --dist worksteal -m 'not slow'

test-plugin: $(VENV)/ready-for-work  ## the command's tests without `docker` in front of its plugin
	DOCKER_MODEL_TEST_PLUGIN=1 $(PYTEST) -n 2 -m 'not slow' tests/contract tests/faults tests/unit/core tests/unit/docker_cli

# A Python for Windows with `.[all]` and the group `test` installed; on Windows or by an emulation.
WINDOWS_PYTHON ?= python
WINDOWS_TESTS ?= tests/unit tests/contract tests/faults

test-windows:  ## the tests that can run on Windows, by WINDOWS_PYTHON; a timeout ends the whole run
	$(WINDOWS_PYTHON) -m pytest -m 'not slow' --timeout=600 --timeout-method=thread $(WINDOWS_TESTS)

test-slow: $(VENV)/ready-for-work  ## the tests that take minutes
	$(BIN)/python -m pip install --quiet --group batch --group docs --group rag
	$(PYTEST) -n 2 -m slow

coverage: $(VENV)/ready-for-work  ## the test suite, and which lines and branches it runs
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -n 2 -m 'not slow'
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered --show-missing

bench: $(VENV)/ready  ## everything side by side; writes benchmarks/RESULTS.md and plot.svg
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python benchmarks/bench.py --write

soak: $(VENV)/ready  ## 10,000 generations with faults and cancels: does anything pile up?
	$(BIN)/python benchmarks/soak.py --count 10000 --seconds 900

test-matrix: $(VENV)-lowest/ready $(VENV)-newest/ready  ## the adapters' tests on the lowest and newest frameworks
	$(VENV)-lowest/bin/python -m pytest -n 2 -m 'not slow' $(FRAMEWORK_TESTS)
	$(VENV)-newest/bin/python -m pytest -n 2 -m 'not slow' $(FRAMEWORK_TESTS)

test-free-threaded: $(VENV)-free-threaded/ready  ## the tests of threads and signals, by a free-threaded PYTHON
	PYTHON_GIL=0 $(VENV)-free-threaded/bin/python -m pytest -n 2 -m 'not slow' $(FREE_THREADED_TESTS)

$(VENV)-free-threaded/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)-free-threaded
	$(VENV)-free-threaded/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-free-threaded/bin/python -m pip install --quiet --editable '.[http,cli]' --group test-core
	touch $@

$(VENV)-lowest/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-lowest/bin/python -m pip install --quiet --editable '.[all]' --group test $(LOWEST)
	touch $@

$(VENV)-newest/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager \
		--editable '.[all]' --group test
	touch $@

lint: $(VENV)/ready-for-work  ## ruff, and the rules of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

format: $(VENV)/ready-for-work  ## ruff, mending what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(VENV)/ready-for-work  ## mypy --strict, and a user's program by mypy and pyright
	$(BIN)/mypy $(SOURCES)
	$(BIN)/mypy --platform win32 --exclude testing/_program.py $(SOURCES)
	$(BIN)/mypy --platform darwin $(SOURCES)
	$(BIN)/mypy --strict tests/typing/sample.py
	$(BIN)/pyright --pythonpath $(BIN)/python tests/typing/sample.py

docs: $(VENV)/ready-for-docs  ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/ready-for-docs: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --group docs
	touch $@

dist: $(VENV)/ready-for-release  ## wheel and sdist, into dist/
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

$(VENV)/ready-for-release: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --group release
	touch $@

clean:  ## removes what these targets made
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-newest build dist site
