# Everything that is typed in this repository. Needs Rust, Python >= 3.11 with pip, a C compiler and make; the rest
# is fetched into .venv. Another interpreter: make PYTHON=python3.13 test
PYTHON ?= python3
# BIG=1 also runs what takes minutes or gigabytes.
BIG ?=
# Tests wait more than they work: two at a time, a file each.
WORKERS ?= 2
# How much of the fault matrix to run; KEEP=1 keeps its table in the documentation.
SCALE ?= 1
KEEP ?=
PYTEST_ARGS ?=

VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
# The server that the exporter is tested against pins much: it has an environment of its own. Where there is one, `make
# test` uses it.
MLFLOW_VENV := $(CURDIR)/.venv-mlflow
# Extras of pyproject.toml behind each stamp.
EXTRAS_demo := demo,view
EXTRAS_dev := demo,bench,dev,view,watch
EXTRAS_docs := docs
# Extras of the frameworks that are tested in CI: those that need no PyTorch.
FRAMEWORKS := rl keras optuna sklearn hydra gymnasium
RUST_SOURCES := $(shell find rust -name '*.rs' -o -name '*.toml' -o -name '*.json') Cargo.toml Cargo.lock pyproject.toml

export VIRTUAL_ENV := $(VENV)
export PYO3_PYTHON := $(BIN)/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_QUIET := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help build demo test frameworks mlflow mlflow-server rotel peers durability races fuzz lint bench docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: $(STAMPS)/demo ## build the extension in release mode and install the package, editable, into .venv

demo: $(STAMPS)/demo ## train a small classifier on handwritten digits into runs/demo and show its summary
	@$(BIN)/codex-obs demo --run-dir runs/demo

test: $(STAMPS)/dev ## build everything, then run the Rust and the Python tests (BIG=1: the long ones too)
	cargo test --locked --workspace
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(if $(BIG),,-m "not big") --ignore tests/frameworks $(PYTEST_ARGS)

peers: $(CURDIR)/.venv-peers/.installed ## install other trackers into .venv-peers, for the fault matrix to compare with

# They pin much: they have an environment of their own.
$(CURDIR)/.venv-peers/.installed: $(STAMPS)/venv pyproject.toml
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["peers"], sep="\n")' \
		> $(STAMPS)/peers.txt
	$(PYTHON) -m venv $(@D) 2> /dev/null || $(PYTHON) -m venv --clear --without-pip $(@D)
	$(BIN)/python -m pip --python $(@D)/bin/python install -r $(STAMPS)/peers.txt
	@touch $@
mlflow: $(STAMPS)/dev mlflow-server ## test the exporter against a real MLflow server (BIG=1: a million metrics too)
	$(BIN)/python -m pytest $(if $(BIG),,-m "not big") $(PYTEST_ARGS) tests/mlflow

mlflow-server: $(MLFLOW_VENV)/.installed ## install an MLflow server into .venv-mlflow, for the tests

rotel: $(CURDIR)/.venv-rotel/.installed ## install a collector of traces into .venv-rotel, for the tests

$(CURDIR)/.venv-rotel/.installed: $(STAMPS)/venv
	$(PYTHON) -m venv $(@D) 2> /dev/null || $(PYTHON) -m venv --clear --without-pip $(@D)
	$(BIN)/python -m pip --python $(@D)/bin/python install -q rotel
	@touch $@

frameworks: build $(CURDIR)/.venv-frameworks/.installed ## test the integrations against the frameworks themselves
	PYTHONPATH=$(CURDIR)/python $(CURDIR)/.venv-frameworks/bin/python -m pytest -o filterwarnings=default $(PYTEST_ARGS) tests/frameworks

# They pin much: they have an environment of their own. The package comes out of this folder.
$(CURDIR)/.venv-frameworks/.installed: $(STAMPS)/venv pyproject.toml
	$(BIN)/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
		extras = project["optional-dependencies"]; \
		print(*project["dependencies"], *{each for name in "$(FRAMEWORKS)".split() for each in extras[name]}, sep="\n")' \
		> $(STAMPS)/frameworks.txt
	$(PYTHON) -m venv $(@D) 2> /dev/null || $(PYTHON) -m venv --clear --without-pip $(@D)
	$(BIN)/python -m pip --python $(@D)/bin/python install -r $(STAMPS)/frameworks.txt 'jax>=0.4.30' 'pytest>=9'
	@touch $@

durability: $(STAMPS)/dev ## run the fault matrix and print its table (SCALE=0.05: minutes; 1: hours)
	$(BIN)/python -m pytest --durability $(SCALE) $(if $(KEEP),--durability-page docs/pages/durability.md) $(PYTEST_ARGS)

races: ## the engine's tests under two sanitizers, its models under loom (a nightly toolchain; half an hour)
	rust/sanitizers/run.sh

fuzz: ## fuzz the line parser, the frame decoder and recovery (a nightly toolchain; SECONDS_EACH=600)
	fuzz/run.sh

lint: $(STAMPS)/dev $(STAMPS)/docs ## formatters, linters, types, stubs, layers, documentation
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@tree=$$(cargo tree --locked -p codex-obs-core -e normal,build --prefix none) || exit 1; \
		case "$$tree" in *pyo3*) echo 'codex-obs-core must not depend on pyo3' >&2; exit 1 ;; esac
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest codex_obs._core
	$(BIN)/python -m pytest -q tests/python/test_house.py tests/python/test_house_engine.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

bench: $(STAMPS)/dev ## run the benchmarks; figures are ratios to a peer in the same run
	$(BIN)/python -m pytest --benchmark --benchmark-columns=min,median,ops $(PYTEST_ARGS)

docs: $(STAMPS)/docs ## build the documentation into site/, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove what was built: .venv*, target, site, caches (never runs/)
	rm -rf .venv .venv-peers .venv-mlflow .venv-rotel target fuzz/target site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	rm -f python/codex_obs/_core*.so

# A Python without ensurepip (Debian's without python3-venv) installs pip into the new environment from outside.
$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo '$(PYTHON) is older than Python 3.11: make PYTHON=python3.11 …' >&2; exit 1; }
	@command -v cargo > /dev/null || { echo 'cargo was not found: install Rust first (https://rustup.rs)' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) 2> /dev/null \
		|| { $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install -q pip; }
	$(BIN)/python -m pip install -q 'maturin>=1.9,<2'
	@mkdir -p $(STAMPS) && touch $@

$(MLFLOW_VENV)/.installed:
	$(PYTHON) -m venv $(MLFLOW_VENV) 2> /dev/null \
		|| { $(PYTHON) -m venv --clear --without-pip $(MLFLOW_VENV) \
		&& $(PYTHON) -m pip --python $(MLFLOW_VENV)/bin/python install -q pip; }
	$(MLFLOW_VENV)/bin/python -m pip install -q 'mlflow>=3,<4' 'psycopg2-binary>=2.9'
	@touch $@

# The first time it compiles 200 packages: on a terminal its progress is shown, so that nobody takes it for dead.
$(STAMPS)/%: $(STAMPS)/venv $(RUST_SOURCES)
	@[ -d target/release ] || echo 'Building the Rust extension: minutes the first time, seconds later.' >&2
	PIP_QUIET=$$([ -t 2 ] && echo 0 || echo 1) $(BIN)/maturin develop --release --locked \
		$$([ -t 2 ] || echo --quiet) --extras $(EXTRAS_$*)
	@touch $@
