# Every habit of the project. Recipes are short on purpose: read them to learn the commands.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.SHELLFLAGS := -eu -c
# Half a file must not look like a whole one.
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# DVC runs the stages with the `python` of the PATH. Nothing is reported to anybody.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := true
export MLFLOW_DISABLE_TELEMETRY := true
export NO_MKDOCS_2_WARNING := 1

UV := $(BIN)/uv
# uv installs in a quarter of pip's time, but does not read pip's configuration: where
# it cannot reach the packages, pip still may.
define install_locked
	$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode --no-deps $(1) \
	  || $(BIN)/python -m pip install --quiet --no-deps $(1)
endef

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up -------------------------------------------------------------------

.PHONY: install dev-install init remote cache
install: $(VENV)/.installed ## Make .venv with the locked requirements
dev-install: $(VENV)/.dev-installed ## The same with what tests, lint and docs need

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.11 to 3.13 is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1); set PYTHON=python3.12, say." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) lacks venv: on Debian or Ubuntu, apt-get install python3-venv." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(UV): requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements-dev.txt)"
	@touch $@

$(VENV)/.installed: requirements.txt $(UV)
	@echo "installing the locked requirements into $(VENV)" >&2
	$(call install_locked,-r requirements.txt)
	@touch $@

$(VENV)/.dev-installed: requirements-dev.txt $(VENV)/.installed
	@echo "installing the development requirements into $(VENV)" >&2
	$(call install_locked,-r requirements-dev.txt)
	@touch $@

init: install ## Make git and DVC repositories in a copy that has neither
	test -d .git || git init --quiet
	test -f .dvc/config || dvc init --quiet

remote: install ## Keep data elsewhere: make remote URL=s3://bucket/path
	@test -n "$(URL)" || { echo "which? make remote URL=s3://bucket/path, or a folder" >&2; exit 2; }
	dvc remote add --force --default storage "$(URL)"

cache: install ## Share DVC's cache with other clones: make cache DIR=/data/dvc-cache
	@test -n "$(DIR)" || { echo "which? make cache DIR=/data/dvc-cache" >&2; exit 2; }
	dvc cache dir --local "$(DIR)"
	dvc config --local cache.shared group
	dvc config --local cache.type "reflink,symlink,hardlink,copy"

# --- the pipeline ---------------------------------------------------------------

.PHONY: pipeline repro sync ui clean
pipeline: install ## Run what changed under one MLflow run: make pipeline [NAME=…] [ARGS=…]
	@python -m src.utils.start_pipeline $(if $(NAME),--name "$(NAME)") $(ARGS)

repro: install ## The same by bare `dvc repro`, then bring MLflow up to date: make repro [ARGS=…]
	@code=0; dvc repro $(ARGS) || code=$$?; python -m src.utils.sync_runs || :; exit $$code

sync: install ## Bring MLflow up to the truth of git and DVC
	@python -m src.utils.sync_runs

ui: install ## Compare runs in the browser
	@python -m src.utils.start_ui

clean: ## Delete caches of tools and the built site; never data, models or runs
	rm -rf site htmlcov .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the code -------------------------------------------------------------------

.PHONY: test test-quick lint format typecheck docs docs-serve lock
test: dev-install ## Run all tests, with coverage
	pytest --cov -n 2 $(TESTS)

test-quick: dev-install ## Run all tests but the slow ones
	pytest -m "not slow" $(TESTS)

lint: dev-install ## Check style; changes nothing
	ruff check
	ruff format --check

format: dev-install ## Mend style
	ruff check --fix
	ruff format

typecheck: dev-install ## Check types
	mypy

docs: dev-install ## Build the documentation into site/
	mkdocs build --quiet --strict

docs-serve: dev-install ## Show the documentation while it is written
	mkdocs serve

# Without a host or an address: each user's own registry is asked.
LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --no-annotate --no-emit-index-url \
  --no-emit-find-links --custom-compile-command "make lock"
lock: $(UV) ## Pin all requirements anew, within the bounds of pyproject.toml
	$(LOCK) --upgrade pyproject.toml --output-file requirements.txt
	$(LOCK) --upgrade --group dev --constraints requirements.txt --output-file requirements-dev.txt
