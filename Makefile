# `make help` is the map. Every target sets up what it needs in .venv; nothing is installed outside it, `system` apart.
.DEFAULT_GOAL := help
.PHONY: help sweep curves test test-cluster test-browser check lint types imports schema format system clean
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NAME ?= quickstart
# Network namespaces as hosts, ssh between them (Debian starts the server), and Chromium for the browser tier.
SYSTEM := iproute2 openssh-server openssh-client rsync chromium

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-13s %s\n", $$1, $$2}'

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[quickstart,export,onnx,dev]'
	touch $@

sweep: $(VENV)/.ready ## the quickstart: a real sweep on this machine, no Hub, no GPU (NAME=… for another name)
	$(BIN)/stsweep run search_spaces/quickstart.yaml --name $(NAME)
	$(BIN)/stsweep export $(NAME)
	$(BIN)/stsweep eval --sweep $(NAME) --split test

curves: $(VENV)/.ready ## record the simulator's learning curves anew: 112 trials to the end, about 40 minutes on two cores
	$(BIN)/stsweep $(if $(wildcard sweeps/student-grid),resume student-grid,run student_grid)
	$(BIN)/python -m sweep.simulation.export_curves student-grid sweep/simulation/student_curves.csv

test: $(VENV)/.ready ## lint, types, imports, unit and whole-program tests
	$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/unit tests/program

test-cluster: $(VENV)/.ready ## real Ray heads, jobs and hosts, processes killed (make system for the hosts)
	$(BIN)/python -m pytest tests/cluster

test-browser: $(VENV)/.ready ## MLflow's comparison page in headless Chromium (make system installs it)
	$(BIN)/python -m pytest tests/browser

check: lint types imports ## ruff, mypy --strict, import-linter

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready
	$(BIN)/mypy

imports: $(VENV)/.ready
	$(BIN)/lint-imports

schema: $(VENV)/.ready ## renew docs/spec.schema.json
	$(BIN)/stsweep schema > docs/spec.schema.json

format: $(VENV)/.ready ## ruff's fixes and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

system: ## what the cluster and browser tiers need from Debian (root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(SYSTEM)

clean: ## the virtual environment and caches, never a sweep
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist build
