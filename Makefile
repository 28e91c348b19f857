# make up on a fresh clone gives a running set; the rest is for those who change it.
# Needs Python 3.11 or newer with venv, Node 20 or newer with npm, and make.

PYTHON ?= python3
BIN := .venv/bin
CHROMIUM ?= chromium
# Tests wait for processes most of the time: two at once take half as long on two cores.
WORKERS ?= 2
FIREFOX ?= firefox-esr

# pip, npm and the browser keep their caches below HOME: without a usable one they get a place here.
ifneq ($(shell test -n "$$HOME" -a -d "$$HOME" -a -w "$$HOME" && echo usable),usable)
export HOME := $(CURDIR)/.venv/home
endif
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export npm_config_update_notifier := false

# Recipes run one after the other, also under -j: pytest's closing line is the last one of `make test`.
.NOTPARALLEL:
.PHONY: help up restart rolling test lint types test-web test-python models browsers chromium firefox-esr bench faults official soak faketime peers proxies pins clean
.DEFAULT_GOAL := help

help:
	@echo 'make up       install what is missing, run everything, print the URL (Ctrl-C stops it)'
	@echo 'make restart  restart what runs, one process after the other; clients miss nothing'
	@echo 'make rolling  restart a set under load so, and look whether anything was missed'
	@echo 'make test     install what tests need, then lint, types and all tests'
	@echo 'make lint     ruff alone'
	@echo 'make types    mypy alone'
	@echo 'make models   search the models for lost events, elsewhere each time (RUNS=2000 of each)'
	@echo 'make bench    speed and memory of this machine, beside those of other servers (BENCH=--quick: sooner)'
	@echo 'make faults   bring about faults in real processes, twenty times each: two hours (FAULTS="--only F1 F4": sooner)'
	@echo 'make official 600 official Socket.IO clients through a round robin, while a gateway is killed (OFFICIAL="--seed 2")'
	@echo 'make soak     kill at random for MINUTES=10, and look whether anything is lost or grows'
	@echo 'make peers    install these others, for the bench alone'
	@echo 'make proxies  fetch nginx and HAProxy, for the tests of their configurations alone'
	@echo 'make pins     resolve requirements/*.in again (exact versions, with hashes)'
	@echo 'make clean    remove what was installed, built and logged; the event log run/penstock.log.db stays'

up: .venv/runtime web/node_modules/.runtime
	@exec env PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/penstock up

restart: .venv/runtime
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/penstock restart

rolling: .venv/dev
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest tests/process/test_rolling.py

test: lint types browsers test-web test-python

lint: .venv/dev
	$(BIN)/ruff check

types: .venv/dev
	$(BIN)/mypy

test-web: web/node_modules/.dev
	cd web && node --test

test-python: .venv/dev web/node_modules/.dev browsers proxies
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

RUNS ?= 2000
models: .venv/dev
	PENSTOCK_MODEL_RUNS=$(RUNS) $(BIN)/python -m pytest -n $(WORKERS) -o faulthandler_timeout=0 tests/model -k 'runTest or seeds'

bench: .venv/dev peers
	@$(BIN)/python -m tests.bench --json bench-$$(date +%Y%m%d-%H%M%S).json $(BENCH)

faults: .venv/dev faketime
	@$(BIN)/python -m tests.faults --json faults-$$(date +%Y%m%d-%H%M%S).json $(FAULTS)

official: .venv/dev web/node_modules/.dev
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.faults.socketio $(OFFICIAL)

MINUTES ?= 10
soak: .venv/dev
	@$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) $(SOAK)

# Nothing here fails: without it the clocks do not jump, and that is said.
faketime:
	@command -v faketime >/dev/null || { \
		install='apt-get update && apt-get install -y --no-install-recommends faketime'; \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then sh -c "$$install"; else false; fi; \
		} || echo 'The faults go on without faketime.'

# Nothing here fails: who cannot be had is left out of the bench, and that is said.
peers: .venv/made
	@for each in .venv/peers/python .venv/peers/debian tests/bench/peers/node_modules/.runtime; do \
		$(MAKE) --no-print-directory $$each || echo "The bench goes on without $$each."; done

.venv/peers/python: requirements/peers.txt
	$(PYTHON) -m venv .venv/peers
	.venv/peers/bin/python -m pip install --quiet --require-hashes -r requirements/peers.txt
	@touch $@

# Unpacked, not installed: that needs no root, and an installed server would start and run on.
DEBIAN_PEERS := nats-server nginx libnginx-mod-nchan
.venv/peers/debian:
	@rm -rf $@.new && mkdir -p $@.new
	cd $@.new && { apt-get download $(DEBIAN_PEERS) || { apt-get update && apt-get download $(DEBIAN_PEERS); }; }
	@cd $@.new && for each in *.deb; do dpkg-deb --extract $$each . || exit 1; done && rm *.deb
	@mv $@.new $@

# Nothing here fails: the tests of the configurations for them say why they are skipped.
proxies: .venv/made
	@$(MAKE) --no-print-directory .venv/proxies || echo 'The tests go on without nginx and HAProxy.'

# Unpacked as well, with what HAProxy needs beside what every Debian has.
DEBIAN_PROXIES := nginx haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1
.venv/proxies:
	@rm -rf $@.new && mkdir -p $@.new
	cd $@.new && { apt-get download $(DEBIAN_PROXIES) || { apt-get update && apt-get download $(DEBIAN_PROXIES); }; }
	@cd $@.new && for each in *.deb; do dpkg-deb --extract $$each . || exit 1; done && rm *.deb
	@mv $@.new $@

tests/bench/peers/node_modules/.runtime: tests/bench/peers/package.json tests/bench/peers/package-lock.json
	cd tests/bench/peers && npm ci --no-audit --no-fund
	@touch $@

# Stamps: what is installed and newer than its pins is not looked at again.
.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Penstock needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ...'; exit 1; }
	$(PYTHON) -m venv .venv
	@mkdir -p .venv/home
	@touch $@

.venv/runtime: .venv/made requirements/runtime.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/runtime.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev: .venv/runtime requirements/dev.txt
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

web/node_modules/.runtime: web/package.json web/package-lock.json
	cd web && npm ci --omit=dev --no-audit --no-fund
	@touch $@

# npm ci begins with an empty folder, so this one brings the other's packages too.
web/node_modules/.dev: web/package.json web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch web/node_modules/.runtime $@

browsers: chromium firefox-esr

chromium: PROGRAM := $(CHROMIUM)
firefox-esr: PROGRAM := $(FIREFOX)
chromium firefox-esr:
	@command -v $(PROGRAM) >/dev/null || { \
		install='apt-get update && apt-get install -y --no-install-recommends $@'; \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then sh -c "$$install"; \
		else echo "The pages are tested in Debian's $@, which is missing. As root: $$install"; exit 1; fi; }

pins:
	$(PYTHON) -m venv .venv/pins
	.venv/pins/bin/pip install --quiet pip-tools==7.6.2
	cd requirements && for set in runtime dev peers; do \
		../.venv/pins/bin/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-header \
			--no-emit-index-url --no-emit-find-links --output-file $$set.txt $$set.in || exit 1; done

# What processes write goes, events stay; and nothing is taken from under a set that runs.
clean:
	@if pid=$$(cat run/supervisord.pid 2>/dev/null) && kill -0 $$pid 2>/dev/null; then \
		echo "Penstock runs (supervisord is pid $$pid). First: supervisorctl -c deploy/supervisord.conf shutdown"; \
		exit 1; fi
	rm -rf .venv web/node_modules tests/bench/peers/node_modules *.egg-info build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis bench-*.json faults-*.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find run ! -type d ! -name .gitignore ! -name 'penstock.log.db*' -delete
