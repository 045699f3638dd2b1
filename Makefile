# Every command of the project.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.SHELLFLAGS := -eu -c
# Never leave a partial file behind.
.DELETE_ON_ERROR:

# Only the command line sets these: some systems export a NAME or a TARGET of their own.
VARIABLES := A ARGS B DATA DIR ENDPOINT FILE GRID HOST JSON LABELS MEMORY MESSAGE MODEL N NAME ONLY PORT PORTABLE PYTHON \
  REF RUN RUNS SINCE TAG TARGET TESTS URL VERSION WORKERS YES
$(foreach name,$(VARIABLES),$(if $(filter environment%,$(origin $(name))),$(eval $(name) :=)))
# Recipes use these as "$$NAME", so that the shell does not interpret their values.
export NAME URL ENDPOINT DIR GRID TAG MESSAGE A B RUN REF RUNS FILE TARGET N VERSION MODEL PORT HOST SINCE LABELS DATA WORKERS MEMORY

PYTHON := $(or $(PYTHON),python3)
GRID := $(or $(GRID),train.estimator=knn,logreg,svm)
VENV := .venv
BIN := $(VENV)/bin
# DVC runs stages with the `python` in PATH. No tool sends usage data.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := true
export MLFLOW_DISABLE_TELEMETRY := true
export NO_MKDOCS_2_WARNING := 1
# Arrow's default pool reserves a gigabyte, which a memory limit may not allow. Only Arrow for Linux has jemalloc.
export ARROW_DEFAULT_MEMORY_POOL := $(if $(filter Linux,$(shell uname)),jemalloc,system)
# DVC fails if the user has no name and no home, as in some containers.
export USER := $(or $(USER),$(LOGNAME),$(shell id -un 2>/dev/null || id -u))
export HOME := $(or $(HOME),$(CURDIR)/.dvc/tmp/home)
# These would lead git into another repository, hide `src` from Python, or let a warning end set-up.
unexport $(shell git rev-parse --local-env-vars 2>/dev/null) PYTHONHOME PYTHONSAFEPATH PYTHONWARNINGS \
  PIP_PREFIX PIP_TARGET
export PIP_USER := 0

UV := $(BIN)/uv
# uv is four times as fast as pip, but does not read pip's configuration, so pip is the fallback.
define install_locked
	@rm -f $(VENV)/.made-for $(VENV)/.uv-failed
	@echo "installing the packages of $(1) into $(VENV), which takes about a minute" >&2
	@{ $(UV) pip install --python $(BIN)/python --compile-bytecode --no-deps -r $(1) 2>&1 \
	  || touch $(VENV)/.uv-failed; } | { grep -v -e '^ [-+~] ' -e '^Using Python' || :; } >&2
	@test ! -e $(VENV)/.uv-failed || { echo "installing with pip, which takes a few minutes" >&2; \
	  $(BIN)/python -m pip install --quiet --no-deps -r $(1); }
	@$(BIN)/python -c 'import os, sys; print(os.path.realpath("."), os.path.realpath(sys.executable))' >$(VENV)/.made-for
endef

# Install an optional extra of pyproject.toml.
install_extra = $(UV) pip install --quiet --python $(BIN)/python --compile-bytecode \
  --constraints requirements.txt --constraints requirements-dev.txt --requirements pyproject.toml --extra $(1)

# DVC 3.67 writes its config as ASCII. Any other character makes it fail and empty the file.
define refuse_beyond_ascii
	@! printf %s "$$$(1)" | LC_ALL=C grep -q '[^ -~]' || \
	  { echo "$(1) must be ASCII, since DVC writes it into its config; rename it, or use a link or a relative path" >&2; exit 2; }
endef

# Do not expand a $ in variables from the command line.
$(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),\
  $(eval override $(name) := $$(value $(name)))))

# Use only instructions of all x86-64 CPUs, see docs/how-to/versions.md.
ifneq ($(PORTABLE),)
export OPENBLAS_CORETYPE := Nehalem
export NPY_DISABLE_CPU_FEATURES := X86_V3 X86_V4 AVX512_ICL AVX512_SPR
export GLIBC_TUNABLES := glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX512F
endif

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up -------------------------------------------------------------------

.PHONY: install dev-install init remote cache
install: $(VENV)/.installed ## Create .venv with the locked requirements
dev-install: $(VENV)/.dev-installed ## Add what tests, lint and docs need

# A .venv whose installation was interrupted, that was moved, or whose Python was replaced is made again.
MADE_FOR = $(realpath .) $(realpath $(BIN)/python)
ifneq ($(shell cat $(VENV)/.made-for 2>/dev/null),$(MADE_FOR))
# A link to a .venv elsewhere is left as it is.
ifeq ($(subst $(realpath .)/$(VENV),,$(realpath $(VENV))),)
.PHONY: $(BIN)/python $(UV) $(VENV)/.installed $(VENV)/.dev-installed
endif
endif

$(BIN)/python:
	@$(PYTHON) -c '' 2>/dev/null || { echo "PYTHON=$(PYTHON) is no Python interpreter; set for example PYTHON=python3.12." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.11 to 3.13 is required, $(PYTHON) is $$($(PYTHON) --version 2>&1); set for example PYTHON=python3.12." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) has no module venv; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@test ! -L $(VENV) || { echo "$(VENV) is a link, and what it leads to has no Python: make it there, or remove the link" >&2; exit 2; }
	@test ! -e $(VENV) || echo "making $(VENV) again: it is incomplete, was moved, or its Python has changed" >&2
	$(PYTHON) -m venv --clear $(VENV)

$(UV): requirements-dev.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements-dev.txt)"
	@touch $@

# DVC's plugin for the remote in .dvc/config.
PLUGINS = $(shell sed -nE 's#^ *url *= *(s3|gs|azure|ssh)://.*#dvc-\1#p' .dvc/config .dvc/config.local 2>/dev/null | sort -u)
$(VENV)/.installed: requirements.txt $(wildcard .dvc/config .dvc/config.local) $(UV)
	$(call install_locked,requirements.txt)
	$(if $(PLUGINS),$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode \
	  --constraints requirements.txt --constraints requirements-dev.txt $(PLUGINS))
	@touch $@

$(VENV)/.dev-installed: requirements-dev.txt $(VENV)/.installed
	$(call install_locked,requirements-dev.txt)
	@touch $@

init: install ## Turn a copy without git history into git and DVC repositories
	test -d .git || git init --quiet
	test -f .dvc/config || $(BIN)/python -m dvc init --quiet

remote: install ## Set the storage of data: make remote URL=s3://bucket/path [ENDPOINT=https://…]
	@test -n "$$URL" || { echo "set URL: make remote URL=s3://bucket/path, or a folder" >&2; exit 2; }
	@$(BIN)/python -m src.config.url "$$URL" "$$ENDPOINT"
	$(call refuse_beyond_ascii,URL)
	$(call refuse_beyond_ascii,ENDPOINT)
	$(BIN)/python -m dvc remote add --force --default storage "$$URL"
	$(if $(ENDPOINT),$(BIN)/python -m dvc remote modify storage endpointurl "$$ENDPOINT")

cache: install ## Share DVC's cache with other clones: make cache DIR=/data/dvc-cache
	@test -n "$$DIR" || { echo "set DIR: make cache DIR=/data/dvc-cache" >&2; exit 2; }
	$(call refuse_beyond_ascii,DIR)
	$(BIN)/python -m dvc cache dir --local "$$DIR"
	$(BIN)/python -m dvc config --local cache.shared group
	$(BIN)/python -m dvc config --local cache.type "reflink,symlink,hardlink,copy"

# --- the pipeline ---------------------------------------------------------------

.PHONY: new-data pipeline repro experiments cluster sync ui notebook report
new-data: install ## Set up params.yaml for your table: make new-data FILE=table.csv|URL=https://… [TARGET=column] [YES=1]
	@test -n "$$FILE$$URL" || { echo "set FILE or URL: make new-data FILE=table.csv, or URL=https://…" >&2; exit 2; }
	@$(BIN)/python -m src.new_data $(if $(FILE),--file="$$FILE",--url="$$URL") $(if $(TARGET),--target="$$TARGET") $(if $(YES),--yes)

pipeline: install ## Run what changed under one MLflow run: make pipeline [NAME=…] [ARGS=…]
	@exec $(BIN)/python -m src.utils.start_pipeline $(if $(NAME),--name "$$NAME") $(ARGS)

repro: install ## Run bare `dvc repro`, then bring MLflow up to date: make repro [ARGS=…]
	@$(BIN)/python -m src.utils.prepare
	@code=0; $(BIN)/python -m dvc repro $(ARGS) || code=$$?; $(BIN)/python -m src.utils.sync_runs || :; exit $$code

experiments: install ## Try settings as DVC experiments, two at a time: make experiments [GRID="train.estimator=knn,svm train.cv=3,5"]
	@exec $(BIN)/python -m src.utils.experiments -- "$$GRID"

cluster: install ## Start a Dask cluster on this machine: make cluster [WORKERS=2] [MEMORY=1GB]
	@$(BIN)/python -c 'import distributed' 2>/dev/null || $(call install_extra,dask)
	@exec $(BIN)/python -m src.utils.start_cluster $(if $(WORKERS),--workers="$$WORKERS") $(if $(MEMORY),--memory="$$MEMORY")

sync: install ## Bring MLflow up to date with git and DVC
	@$(BIN)/python -m src.utils.sync_runs

ui: install ## Compare runs in the browser
	@exec $(BIN)/python -m src.utils.start_ui

report: install ## Open the report of the last run in the browser
	@$(BIN)/python -m src.utils.open_report

notebook: install ## Explore a run in JupyterLab, installed on first use: make notebook [ARGS=--no-browser]
	@$(BIN)/python -c 'import jupyterlab' 2>/dev/null || $(call install_extra,notebook)
	@exec $(BIN)/python -m jupyterlab notebooks/explore.ipynb $(ARGS)

# --- versions -----------------------------------------------------------------

.PHONY: publish restore compare reproduce lineage
publish: install ## Tag HEAD and push it with its data and model: make publish TAG=v1.0.0 [MESSAGE=…] [YES=1]
	@test -n "$$TAG" || { echo "set TAG: make publish TAG=v1.0.0" >&2; exit 2; }
	@$(BIN)/python -m src.versions.publish --tag="$$TAG" $(if $(MESSAGE),--message="$$MESSAGE") $(if $(YES),--yes)

restore: install ## Check out a version with its data and model: make restore TAG=v1.0.0
	@test -n "$$TAG" || { echo "set TAG: make restore TAG=v1.0.0" >&2; exit 2; }
	@$(BIN)/python -m src.versions.restore --tag="$$TAG"

compare: install ## Show what differs between two versions: make compare A=v1.0.0 B=v1.1.0
	@test -n "$$A" -a -n "$$B" || { echo "set A and B: make compare A=v1.0.0 B=v1.1.0" >&2; exit 2; }
	@$(BIN)/python -m src.versions.compare -- "$$A" "$$B"

reproduce: install ## Repeat a run, tag or commit and compare the results byte by byte: make reproduce RUN=v1.0.0 [PORTABLE=1]
	@test -n "$$RUN" || { echo "set RUN: make reproduce RUN=v1.0.0" >&2; exit 2; }
	@$(BIN)/python -m src.versions.reproduce --run="$$RUN"

lineage: install ## Show where a run, model, tag or file came from: make lineage REF=v1.0.0 [JSON=1]
	@test -n "$$REF" || { echo "set REF: make lineage REF=v1.0.0" >&2; exit 2; }
	@$(BIN)/python -m src.versions.lineage $(if $(JSON),--json) -- "$$REF"

# --- service --------------------------------------------------------------------

.PHONY: server server-users server-import register promote rollback models serve monitor retrain loop
server: install ## Start a tracking server with the settings of server.env
	@$(BIN)/python -c 'import psycopg, flask_wtf, prometheus_flask_exporter, boto3' 2>/dev/null || $(call install_extra,server)
	@exec $(BIN)/python -m src.service.server.start

server-users: install ## Add users of the tracking server and what they may do: make server-users ARGS="add ann --grant read"
	@$(BIN)/python -m src.service.server.users $(ARGS)

server-import: install ## Copy the runs, models and artifacts of mlflow.db to the server in MLFLOW_TRACKING_URI
	@$(BIN)/python -m src.service.server.import_runs

register: install ## Register a model in MLflow, and check it: make register [RUN=v1.0.0]
	@$(BIN)/python -m src.service.registry.register $(if $(RUN),--run="$$RUN")

promote: install ## Make a registered model the champion: make promote [VERSION=3]
	@$(BIN)/python -m src.service.registry.promote $(if $(VERSION),--version="$$VERSION")

rollback: install ## Make the previous champion the champion again
	@$(BIN)/python -m src.service.registry.rollback

models: install ## List registered models with their metrics and tags
	@$(BIN)/python -m src.service.registry.list_models $(if $(JSON),--json)

serve: install ## Answer requests: make serve [MODEL=models:/iris@champion|TAG=v1.0.0] [PORT=8000] [HOST=127.0.0.1]
	@$(BIN)/python -c 'import httptools, orjson, prometheus_client, uvloop' 2>/dev/null || $(call install_extra,serve)
	@exec $(BIN)/python -m src.service.endpoint.start $(if $(MODEL),--model="$$MODEL") $(if $(TAG),--tag="$$TAG") \
	  $(if $(PORT),--port="$$PORT") $(if $(HOST),--host="$$HOST")

monitor: install ## Compare recorded requests with the training data: make monitor [SINCE=2026-11-01] [LABELS=labels.csv]
	@$(BIN)/python -m src.service.monitoring.monitor $(if $(SINCE),--since="$$SINCE") $(if $(LABELS),--labels="$$LABELS")

retrain: install ## Add labelled rows, train, and promote the model if it passes the gate: make retrain DATA=new.csv
	@test -n "$$DATA" || { echo "set DATA: make retrain DATA=new.csv" >&2; exit 2; }
	@$(BIN)/python -m src.service.retraining.retrain --data="$$DATA"

loop: install ## Show the whole cycle on iris: serve, drift, monitor, retrain, gate, swap
	@$(BIN)/python -c 'import httptools, orjson, prometheus_client, uvloop' 2>/dev/null || $(call install_extra,serve)
	@$(BIN)/python -m src.service.retraining.loop

# --- the code -------------------------------------------------------------------

.PHONY: clean test test-quick test-thorough test-browser coverage soak bench lint format typecheck docs docs-serve lock
test: dev-install ## Run the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal $(TESTS)

test-quick: dev-install ## Run the tests that are not slow
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" $(TESTS)

test-thorough: dev-install ## Run the tests that are too slow for `make test`
	$(BIN)/python -m pytest -n 2 --dist worksteal -m thorough $(TESTS)

test-browser: dev-install ## Check every page in Chromium: make test-browser [DIR=docs/images]
	@$(BIN)/python -c 'import playwright' 2>/dev/null || $(call install_extra,browser)
	$(BIN)/python -m pytest -m browser $(if $(DIR),--pictures="$$DIR") tests/browser

coverage: dev-install ## Run all tests and report branch coverage; takes twice as long
	$(BIN)/python -m pytest --cov -n 2 --dist worksteal $(TESTS)

soak: dev-install ## Kill the pipeline at random moments and check that nothing is lost: make soak [N=40]
	$(BIN)/python -m tests.pipeline.faults --trials "$${N:-40}"

bench: dev-install ## Measure the pipeline beside a plain script: make bench [ONLY="iris 1M"] [RUNS=5]
	$(BIN)/python -m benchmarks.bench --runs "$${RUNS:-5}" $(if $(ONLY),--only $(ONLY))

lint: dev-install ## Check style without changing files
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check

format: dev-install ## Fix style
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

typecheck: dev-install ## Check types
	$(BIN)/python -m mypy

docs: dev-install ## Build the documentation into site/
	$(BIN)/python -m mkdocs build --strict -f mkdocs.yaml

docs-serve: dev-install ## Serve the documentation while you write it
	$(BIN)/python -m mkdocs serve -f mkdocs.yaml

clean: ## Delete caches of tools and the built site, but no data, models or runs
	rm -rf site htmlcov .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The locks contain no URL, so that each user's package index is used.
LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --no-annotate --no-emit-index-url \
  --no-emit-find-links --custom-compile-command "make lock"
lock: $(UV) ## Update the locked requirements within the bounds of pyproject.toml
	$(LOCK) --upgrade pyproject.toml --output-file requirements.txt
	$(LOCK) --upgrade --group dev --constraints requirements.txt --output-file requirements-dev.txt
