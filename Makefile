# Needs Python ≥ 3.11 and a Rust toolchain; everything else is installed into .venv.

PYTHON ?= python3
VENV := .venv
BENCH := .venv-bench
OLDEST := .venv-oldest
OLDEST_PYTHON ?= python3.11
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# Narrower instruction sets than the best, which all other runs of the tests use.
ISA ?= baseline avx2
# Tests that compute little or nothing with our kernels, choose instructions themselves, or want a machine of their own.
SAME_BY_ANY := architecture cuda_* cupy* docs examples gpu* mutants plot portability strategies surface \
    cluster dispatch durability fork interpreters interrupts memory panics promises races supply_chain threads
# Inputs of the fuzzers: so many million for Rust, so many times ten thousand for Python.
TIMES ?= 1
FOUND := target/found
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find src -name '*.rs')

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-rust test-python test-oldest test-isa check format docs soak fuzz audit bench bench-gate build clean

help:  ## Print these sentences.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build  ## Train on 100 points, then on 53,940 diamonds, and show the loss falling.
	$(BIN)/steepest demo
	@echo
	$(BIN)/steepest fit examples/diamonds.csv --target price --method nesterov

test: test-rust test-python  ## Run every test, in Rust and in Python.

test-rust:  ## Run the Rust tests; they need no Python.
	cargo test --locked

test-python: build  ## Run the Python tests and every example in a docstring or the README.
	STEEPEST_TEST_PROFILE=$${STEEPEST_TEST_PROFILE:-ci} $(BIN)/python -m pytest -n auto --dist loadgroup tests python README.md

test-oldest: build $(OLDEST)/created  ## Run the tests of the estimators with the oldest scikit-learn, NumPy and SciPy.
	PYTHONPATH=python $(OLDEST)/bin/python -m pytest tests/test_estimators.py tests/test_estimator_fits.py \
	    tests/test_tables.py tests/test_callbacks.py

$(OLDEST)/created: tests/oldest.txt
	$(OLDEST_PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet -r tests/oldest.txt
	touch $@

test-isa: build  ## Run the tests that compute under each narrower instruction set; ISA=baseline for one.
	for isa in $(ISA); do STEEPEST_ISA=$$isa $(BIN)/python -m pytest -n auto --dist loadgroup tests \
	    $(foreach name,$(SAME_BY_ANY),--ignore-glob='*/test_$(name).py') || exit 1; done

check: build  ## Formatters, linters and type checkers; changes nothing.
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --features python -- -D warnings
	$(BIN)/ruff format --check python tests benches examples docs fuzz
	$(BIN)/ruff check python tests benches examples docs fuzz
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest steepest._steepest

format: build  ## Format all code.
	cargo fmt
	$(BIN)/ruff format python tests benches examples docs fuzz
	$(BIN)/ruff check --fix --select I python tests benches examples docs fuzz

docs: build  ## Build the documentation into docs/_build/html; a warning is an error.
	$(BIN)/python -m pip install --quiet 'sphinx>=8' 'pydata-sphinx-theme>=0.16' 'numpydoc>=1.8' 'myst-parser>=4'
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

soak: build  ## Fits under faults for ten minutes, and what was lost; SECONDS=60 for one.
	$(BIN)/python tests/soak.py --seconds $(or $(SECONDS),600)

fuzz: build $(BIN)/cargo-fuzz  ## Fuzz what reads structures and files of strangers, from a fixed seed; TIMES=100 for more.
	rm -rf $(FOUND) && mkdir -p $(addprefix $(FOUND)/,csr model checkpoint) $(addprefix fuzz/artifacts/,model checkpoint)
	$(BIN)/cargo-fuzz run --sanitizer none --codegen-units 16 csr $(FOUND)/csr fuzz/corpus/csr -- \
	    -seed=1 -runs=$(TIMES)000000 -verbosity=0 -print_final_stats=1
	$(BIN)/python -m pip install --quiet -r fuzz/requirements.txt
	for kind in model checkpoint; do \
	    PYTHONHASHSEED=0 $(BIN)/python fuzz/files.py --$$kind $(FOUND)/$$kind fuzz/corpus/$$kind -artifact_prefix=fuzz/artifacts/$$kind/ \
	        -seed=1 -runs=$(TIMES)0000 -timeout=10 -rss_limit_mb=512 -verbosity=0 -print_final_stats=1 || exit 1; \
	done

$(BIN)/cargo-fuzz: $(VENV)/created
	cargo install --quiet --locked --root $(VENV) --version 0.13.2 cargo-fuzz

audit: build  ## Known holes and licences of all that is used; needs cargo-deny.
	cargo deny --locked check
	$(BIN)/python -m pip install --quiet pip-audit && $(BIN)/python -m pip_audit

bench: $(BENCH)/built  ## Measure against every peer, side by side; writes docs/benchmarks.md. QUICK=1 for a tenth.
	$(BENCH)/bin/python benches/run.py $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

bench-gate:  ## Count the instructions of three kernels against those recorded; needs valgrind.
	$(PYTHON) benches/gate.py

$(BENCH)/created: benches/requirements.txt
	$(PYTHON) -m venv --clear $(BENCH)
	while read -r package; do \
	    case "$$package" in ''|'#'*) continue ;; esac; \
	    $(BENCH)/bin/python -m pip install --quiet "$$package" || echo "$$package cannot be installed here"; \
	done < benches/requirements.txt
	touch $@

$(BENCH)/built: $(BENCH)/created $(VENV)/built $(shell find python -name '*.py')
	$(BIN)/maturin build --release --locked --interpreter $(BIN)/python --out $(BENCH)/wheels
	$(BENCH)/bin/python -m pip install --quiet --force-reinstall --no-deps $(BENCH)/wheels/*.whl
	touch $@

build: $(VENV)/built  ## Build the extension into .venv, with all that the other targets need.

$(VENV)/created:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "steepest needs Python 3.11 or newer; make PYTHON=… names one")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet 'maturin>=1.14,<2'
	touch $@

$(VENV)/built: $(VENV)/created pyproject.toml $(RUST_SOURCES)
	env -u CONDA_PREFIX VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked --extras cli,dev
	touch $@

clean:  ## Remove the environment and everything built.
	rm -rf $(VENV) $(BENCH) $(OLDEST) docs/_build docs/api/generated target
