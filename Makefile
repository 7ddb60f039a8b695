# The commands of the README. Everything is installed into $(VENV).
PYTHON ?= python3
VENV ?= .venv
CONFIG ?= configs/demo.yaml
# Test processes at once; each takes up to two processors and 2 GB.
WORKERS ?= 2
BIN = $(VENV)/bin
# The tests of patchcore_ops; those of the assets, of servers and of faults take minutes more.
ROOMS = $(addprefix tests/,backbones calibration checks config coreset dataset embedding estimator inspection metrics model report runtime scoring service stages)
# Networks are made here, and bottle is benchmarked.
SLOW = $(addprefix tests/,backbones embedding estimator model service stages)

.DEFAULT_GOAL := help

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(VENV)/.installed-%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[$*]"
	touch $@

install: $(VENV)/.installed-demo ## install the benchmark with what the demonstration needs

demo-data: install ## lay out the demonstration's images below data/demo
	$(BIN)/python -m demo --root data/demo

demo: demo-data ## run the whole benchmark on the demonstration data and say where to look
	$(BIN)/patchcore benchmark --config configs/demo.yaml
	@echo "ui:      make ui, then open http://127.0.0.1:3000"

benchmark: install ## run every category of CONFIG, then its table and report
	$(BIN)/patchcore benchmark --config $(CONFIG)

ui: install ## open Dagster's UI on CONFIG at http://127.0.0.1:3000
	PATCHCORE_CONFIG=$(CONFIG) $(BIN)/dagster dev --host 127.0.0.1 --port 3000

test: $(VENV)/.installed-dev ## run the tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-ops: $(VENV)/.installed-dev ## run the tests of patchcore_ops, as CI does with a second Python
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ROOMS)

test-quick: $(VENV)/.installed-dev ## run what tells most in a minute, for the one who edits
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(filter-out $(SLOW),$(ROOMS))

lint: $(VENV)/.installed-dev ## style, types and layering
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(VENV)/.installed-dev $(VENV)/.installed-audit ## ask for known vulnerabilities of the packages
	$(BIN)/pip-audit --skip-editable --progress-spinner off

system-packages: ## as root on Debian: what the tests in a browser and of a cluster need
	export DEBIAN_FRONTEND=noninteractive; timeout 600 sh -c 'apt-get -qq update && apt-get -qq install \
		--no-install-recommends -y chromium fonts-liberation postgresql' >/dev/null

clean: ## remove the environment and what the demonstration has left
	rm -rf $(VENV) data/demo storage-demo

.PHONY: help install demo-data demo benchmark ui test test-ops test-quick lint audit system-packages clean
