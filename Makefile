# Each target makes what it needs: Python's own venv and pip, nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: tour test lint dropin bench clean

tour: $(VENV)/tour            ## the promises, plain and ours, on an embedded SQLite file
	$(BIN)/sessionwise tour $(ARGS)

test: $(VENV)/dev             ## the whole suite, on every database that can be had
	$(BIN)/pytest --numprocesses auto --cov --cov-report=term $(ARGS)

lint: $(VENV)/dev             ## format, lint, types, direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports

dropin: $(VENV)/dev           ## SQLAlchemy's own ORM tests with our Session in place
	$(BIN)/python -m tests.dropin $(ARGS)

bench: $(VENV)/bench          ## the cases of benchmarks/, each beside plain SQLAlchemy
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/tour: $(BIN)/pip pyproject.toml constraints.txt
	$(PIP) --editable '.[cli]'
	touch $@

$(VENV)/dev: $(BIN)/pip pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	touch $@ $(VENV)/tour

$(VENV)/bench: $(VENV)/dev
	$(PIP) --editable '.[dev,bench]'
	touch $@
