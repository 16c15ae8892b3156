# The two commands: `make run` shows it, `make test` proves it. `make help` lists all of them.
# A fresh machine needs Python >= 3.11 and nothing else; everything goes into .venv.

VENV := .venv
BEAM_VENV := .venv-beam
DATAFLOW_VENV := .venv-dataflow
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo "$$name"; break; }; done)
PYTEST_ARGS ?=
CGROUP2_TESTS := tests/contract/test_cgroup2.py tests/e2e/test_run_cgroup2.py \
	tests/contract/test_live_cgroup2.py tests/contract/test_live_kills.py \
	tests/contract/test_controller_on_cgroups.py

PIP := -m pip --disable-pip-version-check --quiet
HASHED := install --require-hashes --no-deps
EDITABLE := install --no-index --no-deps --no-build-isolation --editable .
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --upgrade

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

.PHONY: setup
setup: $(STAMPS)/ullage ## build .venv with .venv/bin/ullage
# Compiled here, because PYTHONDONTWRITEBYTECODE would have every single run compile it anew.
	@$(BIN)/python -m compileall -q src/ullage

.PHONY: run
run: setup $(BEAM_VENV)/.stamps/demo ## set-up, then a live demonstration on real data (about a minute)
	@$(BEAM_VENV)/bin/ullage demo

.PHONY: example-streaming
example-streaming: setup ## a streaming worker under `ullage serve`: its limit follows it (four minutes; ARGS=--quick)
	@$(BIN)/python examples/streaming/run.py $(ARGS)

.PHONY: picture
picture: setup $(BEAM_VENV)/.stamps/demo ## docs/pictures/demo.svg anew, from a real run of the demonstration
	@$(BEAM_VENV)/bin/ullage demo >$(STAMPS)/demo.txt
	@$(BIN)/python docs/pictures/draw_terminal.py $(STAMPS)/demo.txt docs/pictures/demo.svg "make run"

.PHONY: test
test: setup lint ## set-up, lint, types, import layers, and all tests
	@$(BIN)/pytest $(PYTEST_ARGS)

.PHONY: lint
lint: setup ## ruff, mypy --strict, import layers
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "not formatted: run make format"; exit 1; }
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache >$(STAMPS)/layers.txt || { cat $(STAMPS)/layers.txt; exit 1; }
	@echo "lint: ruff, mypy --strict and the import layers are clean"

.PHONY: format
format: setup ## rewrite the sources in the house's format
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format .

.PHONY: bench
bench: setup ## print what Ullage costs: start, memory, watching, deciding
	@for file in benchmarks/bench_*.py; do $(BIN)/python "$$file" || exit; done

.PHONY: bench-beam
bench-beam: $(BEAM_VENV)/.stamps/demo ## three Beam pipelines, fixed worker limits and Ullage (about five minutes)
	@$(BEAM_VENV)/bin/python benchmarks/beam_workers.py $(ARGS)

.PHONY: benchmarks-quality
benchmarks-quality: setup ## every figure of decision quality on recorded runs: DATA=dir (slow)
	@test -n "$(DATA)" || { echo "make benchmarks-quality DATA=folder of runs_*.parquet [ARGS=--quick]"; exit 1; }
	@$(BIN)/python benchmarks/decision_quality.py --data "$(DATA)" $(ARGS)

.PHONY: dist
dist: setup ## build the wheels and source archives of Ullage and of its worker agent into dist/
	@$(BIN)/python -m hatchling build --clean
	@cd agent && $(CURDIR)/$(BIN)/python -m hatchling build -d $(CURDIR)/dist

.PHONY: test-beam
test-beam: $(BEAM_VENV)/.stamps/demo ## the opt-in lane: real Apache Beam pipelines (own .venv-beam)
	@$(BEAM_VENV)/bin/pytest -m beam $(PYTEST_ARGS)

.PHONY: test-dataflow
test-dataflow: $(DATAFLOW_VENV)/.stamps/ullage ## the opt-in lane: real Beam jobs submitted to a local fake of Dataflow (1 GB)
	@$(DATAFLOW_VENV)/bin/pytest -m dataflow $(PYTEST_ARGS)

.PHONY: test-cgroup2
test-cgroup2: setup ## the slow lane: cgroup v2 on a real kernel in QEMU, as root and as a user (Debian; about five minutes)
	@tests/qemu/run.sh $(CURDIR)/$(BIN)/python $(CGROUP2_TESTS) $(PYTEST_ARGS)
	@tests/qemu/run.sh --user-scope $(CURDIR)/$(BIN)/python $(CGROUP2_TESTS) $(PYTEST_ARGS)

.PHONY: test-docker
test-docker: setup ## the Docker lane: a dockerd of its own (root; fetched on Debian; about two minutes)
	@tests/docker/run.sh $(CURDIR)/$(BIN)/python tests/contract/test_live_docker.py \
		tests/contract/test_controller_on_docker.py $(PYTEST_ARGS)

.PHONY: test-mutants
test-mutants: setup ## switch each guard of the service loop off: every one must be missed by a test
	@$(BIN)/python tests/mutants/run.py $(ARGS)

.PHONY: test-machine
test-machine: setup ## the slow lane: 3,000 bad months for the service loop, in virtual time (about two minutes)
	@ULLAGE_SLOW_TESTS=1 $(BIN)/pytest tests/robustness/test_controller_machine.py -k for_long $(PYTEST_ARGS)

.PHONY: requirements
requirements: setup ## compile requirements/*.in anew, newest versions, with hashes
	@$(COMPILE) pyproject.toml --output-file requirements/base.txt
	@$(COMPILE) requirements/dev.in --output-file requirements/dev.txt
	@$(COMPILE) --no-deps requirements/demo.in --output-file requirements/demo.txt
	@$(COMPILE) pyproject.toml requirements/beam.in --output-file requirements/beam.txt
	@$(COMPILE) pyproject.toml requirements/dataflow.in --output-file requirements/dataflow.txt

.PHONY: clean
clean: ## remove everything that make has built
	rm -rf $(VENV) $(BEAM_VENV) $(DATAFLOW_VENV) dist build .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# -- environments: a stamp is newer than what it was made from ------------------------------

define make_venv
	@test -n "$(PYTHON)" || { echo "Ullage needs Python >= 3.11: install it, or make PYTHON=/path/to/python3.x $(MAKECMDGOALS)"; exit 1; }
	@test -x $(1)/bin/python || echo "Building $(1) with $(PYTHON) ..."
	@test -x $(1)/bin/python || $(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make environments: on Debian and Ubuntu run apt-get install python3-venv"; exit 1; }
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@mkdir -p $(1)/.stamps
endef

$(STAMPS)/dev: requirements/dev.txt
	$(call make_venv,$(VENV))
	@$(BIN)/python $(PIP) $(HASHED) -r requirements/dev.txt
	@touch $@

# The version stands in the package; the entry points stand in pyproject.toml.
$(STAMPS)/ullage: $(STAMPS)/dev pyproject.toml src/ullage/__init__.py
	@$(BIN)/python $(PIP) $(EDITABLE)
	@touch $@

$(BEAM_VENV)/.stamps/ullage: requirements/beam.txt pyproject.toml src/ullage/__init__.py
	$(call make_venv,$(BEAM_VENV))
	@$(BEAM_VENV)/bin/python $(PIP) $(HASHED) -r requirements/beam.txt
	@$(BEAM_VENV)/bin/python $(PIP) $(EDITABLE)
	@touch $@

$(DATAFLOW_VENV)/.stamps/ullage: requirements/dataflow.txt pyproject.toml src/ullage/__init__.py
	$(call make_venv,$(DATAFLOW_VENV))
	@$(DATAFLOW_VENV)/bin/python $(PIP) $(HASHED) -r requirements/dataflow.txt
	@$(DATAFLOW_VENV)/bin/python $(PIP) $(EDITABLE)
	@touch $@

$(BEAM_VENV)/.stamps/demo: requirements/demo.txt $(BEAM_VENV)/.stamps/ullage
	@$(BEAM_VENV)/bin/python $(PIP) $(HASHED) --no-build-isolation -r requirements/demo.txt
	@touch $@
