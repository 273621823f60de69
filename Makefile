# Two commands need nothing but Python >= 3.11 and make: `make demo` and `make test`.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV_VERSION := 0.13.8
CODE := sealwax workflows activities bridge simulator demo benchmarks worker.py tests
PRESENT := $(wildcard $(CODE))
UNIT := $(wildcard tests/unit tests/laws tests/replay tests/providers tests/simulator tests/stores \
  tests/bridge tests/cli tests/client tests/house)

# Each test process starts at most one Temporal server of a kind, on first use.
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n auto --dist worksteal

DEMO_OPTIONS := $(if $(SEED),--seed $(SEED)) $(if $(ENVELOPES),--envelopes $(ENVELOPES)) \
  $(if $(OVERLAP),--overlap $(OVERLAP)) $(if $(KEEP),--keep) $(if $(KILL_WORKER),--kill-worker)

.PHONY: help demo bench storms test test-unit check lock clean

help: ## Say what can be made
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS='	' read -r target text; do \
	  printf '  %-10s %s\n' "$$target" "$$text"; done

demo: $(STAMP) ## Contracts from draft to completed on this machine (SEED= ENVELOPES= OVERLAP=on|off KEEP=1)
	@exec $(BIN)/python -m demo $(DEMO_OPTIONS)

bench: $(STAMP) ## The benchmarks, each within five minutes (ARGS=--long for the full runs)
	@exec $(BIN)/python -m benchmarks.sessions $(ARGS)
	@exec $(BIN)/python -m benchmarks.quota $(ARGS)
	@exec $(BIN)/python -m benchmarks.ingest $(ARGS)

storms: $(STAMP) ## Kill everything everywhere, a long life, ten storms, the sweep: an hour (SEED= ARGS=)
	@LONG_LIFE=3000 $(PYTEST) -q -s tests/workflows/test_long_life.py
	@exec $(BIN)/python -m benchmarks.storms --seconds 60 --storms 10 --sweep $(if $(SEED),--seed $(SEED)) $(ARGS)

test: $(STAMP) ## All tests (ARGS= goes to pytest)
	@exec $(PYTEST) $(PARALLEL) $(ARGS)

test-unit: $(STAMP) ## The tests that start no Temporal server, in seconds
	@exec $(PYTEST) $(UNIT) -m "not server" $(PARALLEL) $(ARGS)

check: $(STAMP) ## All that a change has to pass: format, lint, types, import contracts, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@[ ! -f worker.py ] || $(BIN)/mypy worker.py
	$(BIN)/lint-imports
	$(PYTEST) $(PARALLEL) $(ARGS)

# The interpreter that is asked for, or the newest of those that are new enough.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python3.14 python; do \
  "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && { command -v "$$python"; break; }; done)

# The stamp comes last: what was interrupted is done again. --clear where the folder's own interpreter
# is gone or too old; otherwise what is there is kept, and pip adds what is missing.
$(STAMP): requirements.lock
	@[ -n "$(PYTHON)" ] || { \
	  echo "Sealwax needs Python 3.11 or newer with the venv module: install it, or name it with PYTHON=/path/to/python" >&2; \
	  exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON): once, and again when requirements.lock changes"
	@rm -f $(STAMP)
	@$(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || "$(PYTHON)" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $(STAMP)

lock: ## Resolve the dependencies anew into the two lock files (names, versions, hashes)
	@rm -rf build/lock && mkdir -p build
	"$(PYTHON)" -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	UV_LINK_MODE=copy build/lock/bin/uv lock --python "$(PYTHON)"
	build/lock/bin/uv export --frozen --quiet --no-header --no-emit-project --all-groups --output-file requirements.lock
	build/lock/bin/uv export --frozen --quiet --no-header --no-emit-project --no-default-groups --group programs --output-file requirements-image.lock
	@rm -rf build/lock

clean: ## Remove what was built, the virtual environment included
	rm -rf $(VENV) build dist uv.lock .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
