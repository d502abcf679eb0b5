# `make help` lists the targets. Needs Python 3.11 or newer and a package registry, nothing else.

VENV ?= .venv
PY = $(VENV)/bin/python
# The virtual environments of the peers of the benchmark, of the documentation site, and of tools that look at the project.
BENCH_VENV = .venv-bench
DOCS_VENV = .venv-docs
TOOLS_VENV = .venv-tools
# The documentation as a site.
SITE = .cache/docs
# The virtual environment of the tools that check and pack deploy/.
DEPLOY_VENV = .venv-deploy
# The first Python 3.11 or newer on the PATH.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP = $(PY) -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps
RATE ?= 5
MINUTES ?= 1
ROLE ?= admin
TTL ?= 1h
INPUTS ?= 1000000
ROUNDS ?= 3
COUNT ?= 100
# Parallel test processes. Most tests wait most of the time, so six processes keep two cores busy.
JOBS ?= 6
PAIRS ?= 20
# One test at a time to each process, so that a slow one holds up no others; those that must be alone come last.
XDIST = --dist load --maxschedchunk 1

.DEFAULT_GOAL := help
.PHONY: help setup web run cluster doctor psql demo watch token migrate attach detach uninstall schema check test browsers stress fuzz attack planted-bugs bulk conformance burst soak bench bench-compare bench-writers bench-instructions bench-attach bench-search first-event screenshots icons types check-package check-examples check-deploy sbom release lint lint-sql format lock docs audit outdated coverage mutation clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

setup: $(VENV)/.runtime  ## install only the packages of the server

web: setup  ## build the dashboard and the client, if their sources changed
	@$(PY) -m web.build $(if $(FOR_TESTS),--for-tests)

# With the packages of the page's tests and its linters, too.
test browsers check-package: FOR_TESTS = yes

run: setup  ## set up, then serve until Ctrl-C
	@$(PY) -m web.build || :
	@exec $(PY) server.py serve

cluster: $(VENV)/.dev  ## three nodes of NATS, two servers that may be the relay, an edge and a proxy on this machine, until Ctrl-C: PORT=8000 of the proxy
	@$(PY) -m web.build || :
	@exec $(PY) -m bus.local

doctor: setup  ## print what would stop events from arriving, and how to fix it
	@exec $(PY) server.py doctor

psql: setup  ## psql on the database that `make run` serves: reads standard input, or ARGS="-c 'select 1'"
	@exec $(PY) server.py psql $(ARGS)

demo: setup  ## simulate a shop: RATE=5 changes a second, until Ctrl-C
	@exec $(PY) server.py demo --rate $(RATE)

watch: setup  ## print events as they happen, one line each
	@exec $(PY) server.py watch

token: setup  ## print a token, signed with JWT_SECRET: ROLE=admin TTL=1h; of a customer: ROLE=customer SUB=user-7, or ORDER="5 6"
	@exec $(PY) server.py token --role $(ROLE) --ttl $(TTL) $(if $(SUB),--sub "$$SUB") $(ORDER:%=--order %) $(ARGS)

migrate: setup  ## bring the database's schema up to date
	@exec $(PY) server.py migrate

attach: setup  ## list tables that may have the orders; TABLE=… shows one, MAP=file takes a map, ARGS=--apply does it
	@exec $(PY) server.py attach $(if $(TABLE),'$(TABLE)') $(if $(MAP),--map $(MAP)) $(ARGS)

detach: setup  ## take the triggers of the attached table away: NAME=orders
	@exec $(PY) server.py detach $(NAME) $(ARGS)

uninstall: setup  ## remove all that Orderwire made in the database: ARGS=--yes
	@exec $(PY) server.py uninstall $(ARGS)

schema: setup  ## write sql/schema.sql, the schema as migrate makes it
	@exec $(PY) -m db.schema_dump

# Where the tests' databases are: in memory, where more than 12 GB of it are free. Copying them is a seventh of the time on a disk.
TEMP_ROOT = $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 12000000 {shm = 1} /^MemAvailable/ && $$2 > 12000000 {free = 1} \
	END {if (shm && free) print "/dev/shm"}' - /proc/meminfo 2>/dev/null)
test browsers: export PYTEST_DEBUG_TEMPROOT = $(TEMP_ROOT)

# Some environments disable .pyc files, and each test process would compile every module again.
check test browsers: export PYTHONDONTWRITEBYTECODE =

check: lint  ## lint, and run the tests without PostgreSQL and npm, with fewer random examples
	@MODEL_EXAMPLES=10 MODEL_STORIES=5 $(PY) -m pytest -q -n 2 $(XDIST) -m "not postgres and not npm" $(ARGS)

test: $(VENV)/.dev web  ## run every test in JOBS=6 processes; a part in one process: make test JOBS=0 ARGS=tests/unit
	@$(PY) -m pytest -n $(JOBS) $(XDIST) --durations 10 $(ARGS)

browsers: $(VENV)/.dev web  ## run the browser tests in Chromium and in Firefox, which has to be on the machine
	@$(PY) -m tests.browser.firefox
	@$(PY) -m pytest -n $(JOBS) $(XDIST) tests/browser $(ARGS)

stress: $(VENV)/.dev  ## inject faults of every kind and check that no event is lost: MINUTES=1, TABLE=uuid, CLUSTER=1, SEED=… repeats a run
	@exec $(PY) -m tests.stress --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(NOTIFY_MODE),--notify-mode $(NOTIFY_MODE)) $(if $(TABLE),--table $(TABLE)) $(if $(CLUSTER),--cluster)

bench-writers: $(VENV)/.dev  ## measure the cost of the triggers for writers: ratios, ROUNDS=3
	@exec $(PY) -m bench --only writers --rounds $(ROUNDS)

bench-instructions: $(VENV)/.dev  ## count the instructions of a statement with valgrind: OTHER=../before
	@exec $(PY) -m bench.instructions $(if $(OTHER),--other $(OTHER)) $(ARGS)

bench-attach: $(VENV)/.dev  ## attach a table of 1,500,000 rows under load: how long others wait
	@exec $(PY) -m bench.attach $(ARGS)

bench-search: $(VENV)/.dev  ## search and filter 1,000,000 orders, without and with the indexes that attach advises
	@exec $(PY) -m bench.search $(ARGS)

fuzz: $(VENV)/.dev  ## send invalid input and check that other clients are unaffected: INPUTS=1000000, SEED=… repeats a run
	@exec $(PY) -m tests.fuzz --inputs $(INPUTS) $(if $(SEED),--seed $(SEED))

attack: $(VENV)/.dev  ## flood and burden the server; measure the latency of 100 other clients, and memory
	@exec $(PY) -m tests.attacks

planted-bugs: $(VENV)/.dev  ## plant bugs in a copy of the checkout and check that the tests find each
	@exec $(PY) -m tests.planted_bugs $(ARGS)

bulk: $(VENV)/.dev  ## check that statements of 100,000 rows reach 1,000 clients without an overflow: 40 GB over the loopback
	@BULK_CLIENTS=1000 BULK_ROWS=100000 exec $(PY) -m pytest -q tests/faults/test_bulk.py

conformance: $(VENV)/.dev  ## test the server against RFC 6455; writes docs/reference/conformance.md
	@exec $(PY) -m tests.conformance

screenshots: $(VENV)/.dev web  ## take the screenshots in docs/screenshots again
	@$(PY) -m tests.browser.screenshots

check-package: $(VENV)/.dev web  ## install the packed client in a page of Vite and one of Next.js, and open them in Chromium
	@CHECK_PACKAGE=1 $(PY) -m pytest -q tests/browser/test_packed_client.py $(ARGS)
	@$(PY) -m web.client_fields

check-examples: $(VENV)/.dev  ## run the suites of examples/ with Django, SQLAlchemy and Prisma, in an environment of their own
	@CHECK_EXAMPLES=1 $(PY) -m pytest -q tests/clients/test_orm_examples.py $(ARGS)

types: setup  ## write the types of the messages in web/client/src/protocol.ts, from push/protocol/schema.py
	@$(PY) -m web.protocol_types

icons: $(VENV)/.dev  ## draw the icons of the installed page in web/public from web/src/icon.svg
	@$(PY) -m tests.browser.icons

soak: $(VENV)/.dev  ## measure a dashboard over the events of eight hours, and an insert until it is on the screen
	@$(PY) -m tests.browser.soak

burst: $(VENV)/.dev  ## measure an open dashboard at 1,000 events a second
	@$(PY) -m tests.browser.burst

$(BENCH_VENV)/.peers: requirements/bench.txt $(VENV)/.dev
	@echo "creating $(BENCH_VENV) and installing the peers of the benchmark"
	@$(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps -r requirements/bench.txt
	@touch $@

bench: $(BENCH_VENV)/.peers  ## measure the server and its peers: QUICK=1, ROUNDS=3, ARGS="--only burst --peer node"
	@exec $(PY) -m bench $(if $(QUICK),--quick,--rounds $(ROUNDS)) $(ARGS)

bench-compare: $(VENV)/.dev  ## compare with another checkout in alternated runs: OTHER=../before PAIRS=20
	@test -n "$(OTHER)" || { echo "name the other checkout: make bench-compare OTHER=../before"; exit 2; }
	@exec $(PY) -m bench.compare $(OTHER) --pairs $(PAIRS) $(ARGS)

first-event: $(VENV)/.dev  ## measure the time from git clone to the first event on a page, with empty caches and with full ones
	@$(PY) -m tests.browser.first_event

$(DEPLOY_VENV)/.tools: requirements/deploy.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found: install it, or say where: make PYTHON=…"; exit 1; }
	@echo "creating $(DEPLOY_VENV) and installing the tools for deploy/"
	@$(PYTHON) -m venv $(DEPLOY_VENV)
	@$(DEPLOY_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps -r requirements/deploy.txt
	@touch $@

check-deploy: $(DEPLOY_VENV)/.tools  ## check each file of deploy/ with the tool for its kind: REQUIRE_ALL=1 fails for a missing one
	@REQUIRE_ALL=$(REQUIRE_ALL) $(DEPLOY_VENV)/bin/python -m deploy.check

sbom: $(DEPLOY_VENV)/.tools  ## write dist/sbom-*.cdx.json: the packages in a release, as CycloneDX
	@$(DEPLOY_VENV)/bin/python -m deploy.sbom

release: $(DEPLOY_VENV)/.tools  ## build a release in dist/, with checksums: VERSION=0.2.0; ARGS=--apply commits and tags
	@test -n "$(VERSION)" || { echo "name the version: make release VERSION=0.2.0"; exit 2; }
	@$(DEPLOY_VENV)/bin/python -m deploy.release $(VERSION) $(ARGS)

lint: $(VENV)/.dev  ## check format, lint rules, types and import rules
	@$(PY) -m ruff format --check --quiet . || { echo "not formatted: run make format"; exit 1; }
	@$(PY) -m ruff check --quiet .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports --no-logo
	@$(PY) -m web.build check

lint-sql: $(VENV)/.dev  ## check the SQL with sqlfluff
	@$(VENV)/bin/sqlfluff lint --disable-progress-bar sql/functions sql/migrations sql/starter

format: $(VENV)/.dev  ## format every file
	@$(PY) -m ruff check --quiet --fix-only .
	@$(PY) -m ruff format --quiet .

lock: $(VENV)/.dev  ## pin the newest allowed versions, with hashes
	@$(PY) -m pip --disable-pip-version-check install --quiet uv
	@for name in server runtime node dev bench deploy examples docs tools; do $(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate requirements/$$name.in --output-file requirements/$$name.txt; done

$(DOCS_VENV)/.installed: requirements/docs.txt
	@echo "creating $(DOCS_VENV)"
	@$(PYTHON) -m venv $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps -r requirements/docs.txt
	@touch $@

docs: $(DOCS_VENV)/.installed  ## build the documentation as a site in SITE=.cache/docs, and check its links; ARGS=--external lists links to other hosts
	@$(DOCS_VENV)/bin/python docs/site/build.py $(SITE) $(ARGS)

$(TOOLS_VENV)/.installed: requirements/tools.txt
	@echo "creating $(TOOLS_VENV)"
	@$(PYTHON) -m venv $(TOOLS_VENV)
	@$(TOOLS_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps -r requirements/tools.txt
	@touch $@

audit: $(VENV)/.dev $(TOOLS_VENV)/.installed web  ## ask for known vulnerabilities in the locked packages of Python and npm
	@$(PY) -m requirements.audit vulnerabilities --tools $(TOOLS_VENV)/bin

outdated: $(VENV)/.dev $(TOOLS_VENV)/.installed web  ## list locked packages of which there is a newer version
	@$(PY) -m requirements.audit outdated --tools $(TOOLS_VENV)/bin

coverage: $(VENV)/.dev  ## measure which lines the unit tests run, in every process: ARGS=tests for all tests
	@$(PY) -m coverage erase
	@$(PY) -m coverage run -m pytest -q -n $(JOBS) $(XDIST) $(or $(ARGS),tests/unit)
	@$(PY) -m coverage combine --quiet
	@$(PY) -m coverage report

mutation: $(VENV)/.dev $(TOOLS_VENV)/.installed  ## change push/ at COUNT=100 random places, one at a time, and run its unit tests: SEED=… repeats a run
	@exec nice $(TOOLS_VENV)/bin/python -m tests.mutation --python $(PY) --count $(COUNT) $(if $(SEED),--seed $(SEED)) $(ARGS)

clean:  ## remove the caches of linters and tests, not the data
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache
