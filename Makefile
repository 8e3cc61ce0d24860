# Two commands: `make run` and `make test`. Both set up what they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test lint docs web web-test sanitize clean

run: $(VENV)/run.stamp
	$(BIN)/heron run -p "What can you do?"

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy

# The pages of docs/ that are made of the code.
docs: $(VENV)/dev.stamp
	$(BIN)/python -m heron.cli.reference > docs/cli.md

# The chat page, of web/ into heron/page/ (Node 20.19 or newer); what it builds is committed, since most machines have no node.
web: web/node_modules/.package-lock.json
	cd web && npm run build

web-test: web/node_modules/.package-lock.json
	cd web && npm test

web/node_modules/.package-lock.json: web/package-lock.json
	cd web && npm ci --no-audit --no-fund

# The kernel tests on cores that watch themselves for bad reads, undefined behaviour and races (minutes; Linux).
sanitize: $(VENV)/dev.stamp
	$(BIN)/python -m pip install --quiet nanobind cmake
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m slow tests/backends/test_sanitizers.py

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: $(BIN)/python pyproject.toml CMakeLists.txt $(wildcard csrc/*)
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/dev.stamp: $(BIN)/python pyproject.toml CMakeLists.txt $(wildcard csrc/*)
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@ $(VENV)/run.stamp

clean:
	rm -rf $(VENV) build dist
