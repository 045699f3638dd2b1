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
GRID ?= train.estimator=knn,logreg,svm
# Recipes read these as "$$NAME", so that no letter in them means anything to the shell.
export NAME URL ENDPOINT DIR GRID TAG MESSAGE A B RUN REF RUNS FILE TARGET

UV := $(BIN)/uv
# uv installs in a quarter of pip's time, but does not read pip's configuration: where
# it cannot reach the packages, pip still may.
define install_locked
	$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode --no-deps $(1) \
	  || $(BIN)/python -m pip install --quiet --no-deps $(1)
endef

# DVC 3.67 writes its config as ASCII: at any other letter it fails, and leaves the file empty.
define refuse_beyond_ascii
	@! printf %s "$$$(1)" | LC_ALL=C grep -q '[^ -~]' || \
	  { echo "DVC takes ASCII letters only in $(1); rename it, or name a link or a relative path without others" >&2; exit 2; }
endef

# Variables are taken as they were typed: a $ in them means nothing to make either.
$(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),\
  $(eval override $(name) := $$(value $(name)))))

# The same bytes on each x86-64: no instructions that only some of them have, see docs/how-to/versions.md.
ifdef PORTABLE
export OPENBLAS_CORETYPE := Nehalem
export NPY_DISABLE_CPU_FEATURES := X86_V3 X86_V4 AVX512_ICL AVX512_SPR
export GLIBC_TUNABLES := glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX512F
endif

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up -------------------------------------------------------------------

.PHONY: install dev-install init remote cache
install: $(VENV)/.installed ## Make .venv with the locked requirements
dev-install: $(VENV)/.dev-installed ## The same with what tests, lint and docs need

$(BIN)/python:
	@$(PYTHON) -c '' 2>/dev/null || { echo "PYTHON=$(PYTHON) names no interpreter; set PYTHON=python3.12, say." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.11 to 3.13 is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1); set PYTHON=python3.12, say." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) lacks venv: on Debian or Ubuntu, apt-get install python3-venv." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(UV): requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements-dev.txt)"
	@touch $@

# What DVC needs to reach the remote that .dvc/config names.
PLUGINS = $(shell sed -nE 's#^ *url *= *(s3|gs|azure|ssh)://.*#dvc-\1#p' .dvc/config 2>/dev/null | sort -u)
$(VENV)/.installed: requirements.txt $(wildcard .dvc/config) $(UV)
	@echo "installing the locked requirements into $(VENV)" >&2
	$(call install_locked,-r requirements.txt)
	$(if $(PLUGINS),$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode \
	  --constraints requirements.txt --constraints requirements-dev.txt $(PLUGINS))
	@touch $@

$(VENV)/.dev-installed: requirements-dev.txt $(VENV)/.installed
	@echo "installing the development requirements into $(VENV)" >&2
	$(call install_locked,-r requirements-dev.txt)
	@touch $@

init: install ## Make git and DVC repositories in a copy that has neither
	test -d .git || git init --quiet
	test -f .dvc/config || dvc init --quiet

remote: install ## Keep data elsewhere: make remote URL=s3://bucket/path [ENDPOINT=https://…]
	@test -n "$$URL" || { echo "which? make remote URL=s3://bucket/path, or a folder" >&2; exit 2; }
	@case "$$URL" in *://*:*@*) echo ".dvc/config is committed: no password in URL; see docs/how-to" >&2; exit 2;; esac
	$(call refuse_beyond_ascii,URL)
	$(call refuse_beyond_ascii,ENDPOINT)
	dvc remote add --force --default storage "$$URL"
	$(if $(ENDPOINT),dvc remote modify storage endpointurl "$$ENDPOINT")

cache: install ## Share DVC's cache with other clones: make cache DIR=/data/dvc-cache
	@test -n "$$DIR" || { echo "which? make cache DIR=/data/dvc-cache" >&2; exit 2; }
	$(call refuse_beyond_ascii,DIR)
	dvc cache dir --local "$$DIR"
	dvc config --local cache.shared group
	dvc config --local cache.type "reflink,symlink,hardlink,copy"

# --- the pipeline ---------------------------------------------------------------

.PHONY: new-data pipeline repro experiments sync ui
new-data: install ## Set params.yaml up for a table: make new-data FILE=table.csv|URL=https://… [TARGET=column] [YES=1]
	@test -n "$$FILE$$URL" || { echo "which? make new-data FILE=table.csv, or URL=https://…" >&2; exit 2; }
	@python -m src.new_data $(if $(FILE),--file="$$FILE",--url="$$URL") $(if $(TARGET),--target="$$TARGET") $(if $(YES),--yes)

pipeline: install ## Run what changed under one MLflow run: make pipeline [NAME=…] [ARGS=…]
	@python -m src.utils.start_pipeline $(if $(NAME),--name "$$NAME") $(ARGS)

repro: install ## The same by bare `dvc repro`, then bring MLflow up to date: make repro [ARGS=…]
	@code=0; dvc repro $(ARGS) || code=$$?; python -m src.utils.sync_runs || :; exit $$code

experiments: install ## Try settings as DVC experiments, two at a time: make experiments [GRID=train.cv=3,5]
	@! printf %s "$$PWD" | LC_ALL=C grep -q '[^ -~]' || \
	  { echo "DVC runs experiments only under a path of ASCII letters; move this clone, or set params by hand" >&2; exit 2; }
	dvc exp run --queue --set-param "$$GRID"
	dvc exp run --run-all --jobs 2
	@python -m src.utils.sync_runs
	dvc exp show --only-changed --no-pager --md --drop 'State|Executor|data/|models/'

sync: install ## Bring MLflow up to the truth of git and DVC
	@python -m src.utils.sync_runs

ui: install ## Compare runs in the browser
	@python -m src.utils.start_ui

# --- versions -----------------------------------------------------------------

.PHONY: publish restore compare reproduce lineage
publish: install ## Tag HEAD, with its data and model, for everybody: make publish TAG=v1.0.0 [MESSAGE=…]
	@test -n "$$TAG" || { echo "which? make publish TAG=v1.0.0" >&2; exit 2; }
	@python -m src.versions.publish --tag="$$TAG" $(if $(MESSAGE),--message="$$MESSAGE")

restore: install ## Go to a version, data and model included: make restore TAG=v1.0.0
	@test -n "$$TAG" || { echo "which? make restore TAG=v1.0.0" >&2; exit 2; }
	@python -m src.versions.restore --tag="$$TAG"

compare: install ## Show what differs between two versions: make compare A=v1.0.0 B=v1.1.0
	@test -n "$$A" -a -n "$$B" || { echo "which? make compare A=v1.0.0 B=v1.1.0" >&2; exit 2; }
	@python -m src.versions.compare -- "$$A" "$$B"

reproduce: install ## Make a run, tag or commit again and compare to the byte: make reproduce RUN=v1.0.0 [PORTABLE=1]
	@test -n "$$RUN" || { echo "which? make reproduce RUN=v1.0.0" >&2; exit 2; }
	@python -m src.versions.reproduce --run="$$RUN"

lineage: install ## Tell where a run, model, tag or file came from: make lineage REF=v1.0.0 [JSON=1]
	@test -n "$$REF" || { echo "which? make lineage REF=v1.0.0" >&2; exit 2; }
	@python -m src.versions.lineage $(if $(JSON),--json) -- "$$REF"

# --- the code -------------------------------------------------------------------

.PHONY: clean test test-quick coverage bench lint format typecheck docs docs-serve lock
test: dev-install ## Run all tests
	pytest -n 2 $(TESTS)

test-quick: dev-install ## Run all tests but the slow ones
	pytest -n 2 -m "not slow" $(TESTS)

coverage: dev-install ## Run all tests and tell what they do not reach; takes twice as long
	pytest --cov -n 2 $(TESTS)

bench: dev-install ## Measure the pipeline beside its floor: make bench [ONLY="iris 1M"] [RUNS=5]
	python -m benchmarks.bench --runs "$${RUNS:-5}" $(if $(ONLY),--only $(ONLY))

lint: dev-install ## Check style; changes nothing
	ruff check
	ruff format --check

format: dev-install ## Mend style
	ruff check --fix
	ruff format

typecheck: dev-install ## Check types
	mypy

docs: dev-install ## Build the documentation into site/
	mkdocs build --strict -f mkdocs.yaml

docs-serve: dev-install ## Show the documentation while it is written
	mkdocs serve -f mkdocs.yaml

clean: ## Delete caches of tools and the built site; never data, models or runs
	rm -rf site htmlcov .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Without a host or an address: each user's own registry is asked.
LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --no-annotate --no-emit-index-url \
  --no-emit-find-links --custom-compile-command "make lock"
lock: $(UV) ## Pin all requirements anew, within the bounds of pyproject.toml
	$(LOCK) --upgrade pyproject.toml --output-file requirements.txt
	$(LOCK) --upgrade --group dev --constraints requirements.txt --output-file requirements-dev.txt
