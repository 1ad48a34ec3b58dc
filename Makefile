# `make demo` runs a whole federation, `make test` checks everything, `make check` what is quick. All set up .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
WORKERS := --numprocesses auto --maxprocesses 4 --dist loadfile
# A fast core, without a run: formats, protocol, ledger, data and devices.
CORE := tests/formats tests/layout tests/privacy/base tests/privacy/command tests/privacy/ledger tests/privacy/task \
	tests/privacy/secagg/membership tests/privacy/secagg/primitives tests/privacy/secagg/test_protocol.py \
	tests/simulations/data tests/strategies tests/fl_client/device tests/docs/test_paths.py

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export NO_MKDOCS_2_WARNING := 1

.PHONY: demo test check lint docs clean

demo: $(STAMP)
	$(BIN)/fl-sim run --rounds 30 --cohort 64 --out runs/demo --force --seed 1

# Workers share the cores: a thread each is faster than threads that wait for each other.
test check: export OMP_NUM_THREADS := 1

test: lint
	$(BIN)/pytest $(WORKERS)

check: lint
	$(BIN)/pytest $(WORKERS) $(CORE)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(STAMP)
	$(BIN)/mkdocs build --strict

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) runs build
