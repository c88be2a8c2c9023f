# What a person needs first: `make demo`, `make test`. Both install what is missing.
# Where RabbitMQ and Redis run already, name them: TAKETURNS_AMQP_URL, TAKETURNS_MANAGEMENT_URL, TAKETURNS_REDIS_URL.

.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
export PYTHON

BIN := .venv/bin
# Ends the command should make itself be killed; its servers end with it.
RUN := $(if $(shell command -v setpriv),setpriv --pdeathsig TERM --) $(BIN)

.PHONY: help setup environment demo test bench costs chaos fuzz lint format lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: servers through apt, Python packages into .venv
	@.ci/bootstrap servers

environment:
	@.ci/bootstrap

demo: setup ## Run the main job: a noisy neighbour, taking turns (KEEP=1 leaves it up)
	@$(RUN)/python -m taketurns.demo

# One process more than the two cores that it needs: the tests wait for others half of the time.
test: setup ## Run the tests on real servers of their own (ARGS="-k reaper" chooses)
	@$(RUN)/pytest -n 3 --dist worksteal $(ARGS)

bench: setup ## Compare with plain Celery and others (FULL=1 for all, ARGS="--only newcomer" chooses)
	@.ci/bootstrap bench
	@PYTHONPATH=tests $(RUN)/python -m benchmarks $(if $(FULL),--profile full) $(ARGS)

costs: setup ## Measure what tenants cost the broker, and a worker's start (FULL=1 for more)
	@.ci/bootstrap bench
	@PYTHONPATH=tests $(RUN)/python -m benchmarks --only costs,start $(if $(FULL),--profile full) $(ARGS)

chaos: setup ## Break everything under load, and account for every task (SOAK=1: for long, ARGS="--only kill-broker")
	@PYTHONPATH=tests $(RUN)/python -m chaos $(if $(SOAK),--soak) $(ARGS)

# A run of minutes; the tests have a short one.
fuzz: setup ## Send the API random requests by its OpenAPI document, at length (EXAMPLES=500 for more)
	@$(RUN)/pytest tests/integration/api/test_fuzz.py -n 2 --fuzz $(or $(EXAMPLES),100) $(ARGS)

lint: environment ## Check style and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: environment ## Format the code and mend what can be mended
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

# The build backend and uv itself are in the lock too: so nothing is ever fetched without its hash.
lock: environment ## Choose the newest versions anew and write the lock files
	@printf '%s\n' 'hatchling>=1.25' editables uv | \
		$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--all-extras --group dev --no-header --no-annotate --no-emit-index-url \
		pyproject.toml - --output-file requirements.lock
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--group bench --constraint requirements.lock --no-header --no-annotate --no-emit-index-url \
		pyproject.toml --output-file requirements-bench.lock

clean: ## Remove .venv, caches and the private nodes with their data
	@if [ -d .taketurns ] && [ -x $(BIN)/taketurns ]; then $(BIN)/taketurns services down; fi
	rm -rf .venv .taketurns .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
	find src tests -name __pycache__ -prune -exec rm -rf {} +
