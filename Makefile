# Two commands do everything on a machine with Python >= 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: docs install demo test test-long test-python lint types imports bench lock wheel wheelhouse clean

install: $(STAMP)

# A stamp, so that the second `make` starts at once; a changed pin or dependency installs again.
$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("mlflow-reconciler needs Python >= 3.11, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: install
	$(BIN)/mlflow-reconciler demo $(DEMO_ARGS)

test: lint types imports test-python

# Every pair of crashes, ten minutes of killed replicas, 10,000 idle cycles: hours.
test-long: export LONG_TESTS = 1
test-long: test

test-python: install
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m bench $(BENCH_ARGS)

# The pages that are made from the code.
docs: install
	$(BIN)/python docs/generate.py

# Pins for every platform and Python, with hashes and without the address of any index.
lock: install
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header --extra dev -c requirements/constraints.in pyproject.toml -o requirements/dev.txt

wheel: install
	$(BIN)/python -m hatchling build -t wheel -d dist

# Our wheel and all that it needs, with hashes, for a host without any index.
WHEELHOUSE ?= dist/wheelhouse
wheelhouse: install
	$(BIN)/python contrib/wheelhouse.py $(WHEELHOUSE) $(WHEELHOUSE_ARGS)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
