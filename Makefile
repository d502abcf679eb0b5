# Everything a newcomer needs: `make help`. Needs Python 3.11 or newer and a package registry, nothing else.

VENV ?= .venv
PY = $(VENV)/bin/python
# The peers of the benchmark run in an environment of their own.
BENCH_VENV = .venv-bench
# The first Python on the PATH that is new enough.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP = $(PY) -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps
RATE ?= 5
MINUTES ?= 1
ROLE ?= admin
TTL ?= 1h
INPUTS ?= 1000000
ROUNDS ?= 3
PAIRS ?= 20

.DEFAULT_GOAL := help
.PHONY: help setup web run psql demo watch token migrate test stress fuzz attack bulk conformance burst bench bench-compare bench-writers screenshots lint format lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.runtime: requirements/runtime.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found: install it, or say where: make PYTHON=…"; exit 1; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "python -m venv failed: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	@echo "installing the server's packages"
	@$(PIP) -r requirements/runtime.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	@echo "installing the packages for tests and linters"
	@$(PIP) -r requirements/dev.txt
	@touch $@

setup: $(VENV)/.runtime  ## install what the server needs, and nothing else

web: setup  ## build the dashboard and the client, if their sources changed
	@$(PY) -m web.build

run: setup  ## set up, then serve until Ctrl-C
	@$(PY) -m web.build || :
	@exec $(PY) server.py serve

psql: setup  ## psql on the database that `make run` serves; reads standard input
	@exec $(PY) server.py psql

demo: setup  ## a shop at work: RATE=5 changes a second, until Ctrl-C
	@exec $(PY) server.py demo --rate $(RATE)

watch: setup  ## print events as they happen, one line each
	@exec $(PY) server.py watch

token: setup  ## print a token: ROLE=admin TTL=1h, signed with JWT_SECRET
	@exec $(PY) server.py token --role $(ROLE) --ttl $(TTL) $(ARGS)

migrate: setup  ## bring the database's schema up to date
	@exec $(PY) server.py migrate

test: $(VENV)/.dev web  ## every test
	@$(PY) -m pytest $(ARGS)

stress: $(VENV)/.dev  ## faults of every kind, nothing may be lost: MINUTES=1, SEED=… repeats a run
	@exec $(PY) -m tests.stress --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(NOTIFY_MODE),--notify-mode $(NOTIFY_MODE))

bench-writers: $(VENV)/.dev  ## what a writer pays for being watched: ratios, ROUNDS=3
	@exec $(PY) -m bench --only writers --rounds $(ROUNDS)

fuzz: $(VENV)/.dev  ## whatever strangers send, nobody else notices: INPUTS=1000000, SEED=… repeats a run
	@exec $(PY) -m tests.fuzz --inputs $(INPUTS) $(if $(SEED),--seed $(SEED))

attack: $(VENV)/.dev  ## floods of every kind, and what 100 clients beside notice of them: a table
	@exec $(PY) -m tests.attacks

bulk: $(VENV)/.dev  ## statements of 100,000 rows reach 1,000 dashboards, and nobody's queue overflows: 40 GB over the loopback
	@BULK_CLIENTS=1000 BULK_ROWS=100000 exec $(PY) -m pytest -q tests/faults/test_bulk.py

conformance: $(VENV)/.dev  ## the server against RFC 6455; writes docs/reference/conformance.md
	@exec $(PY) -m tests.conformance

screenshots: $(VENV)/.dev web  ## take the pictures of the dashboard in docs/screenshots anew
	@$(PY) -m tests.browser.screenshots

burst: $(VENV)/.dev  ## 1,000 events a second on an open dashboard: how smooth it stays
	@$(PY) -m tests.browser.burst

$(BENCH_VENV)/.peers: requirements/bench.txt $(VENV)/.dev
	@echo "creating $(BENCH_VENV) and installing the peers of the benchmark"
	@$(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps -r requirements/bench.txt
	@touch $@

bench: $(BENCH_VENV)/.peers  ## side by side with the peers: QUICK=1, ROUNDS=3, ARGS="--only burst --peer node"
	@exec $(PY) -m bench $(if $(QUICK),--quick,--rounds $(ROUNDS)) $(ARGS)

bench-compare: $(VENV)/.dev  ## this checkout against another, alternated: OTHER=../before PAIRS=20
	@test -n "$(OTHER)" || { echo "name the other checkout: make bench-compare OTHER=../before"; exit 2; }
	@exec $(PY) -m bench.compare $(OTHER) --pairs $(PAIRS) $(ARGS)

lint: $(VENV)/.dev  ## formatter, linter, types, import rules
	@$(PY) -m ruff format --check --quiet . || { echo "not formatted: run make format"; exit 1; }
	@$(PY) -m ruff check --quiet .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports --no-logo
	@$(PY) -m web.build check

format: $(VENV)/.dev  ## put every file into its form
	@$(PY) -m ruff check --quiet --fix-only .
	@$(PY) -m ruff format --quiet .

lock: $(VENV)/.dev  ## pin the newest allowed versions, with hashes
	@$(PY) -m pip --disable-pip-version-check install --quiet uv
	@for name in runtime node dev bench; do $(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate requirements/$$name.in --output-file requirements/$$name.txt; done

clean:  ## remove what the linters and tests leave behind; the data stays
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache
