# Two commands do everything on a machine with Python >= 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

UV := $(BIN)/uv
# Like pip: trust the machine's certificates, and use the index that pip is configured for.
export UV_SYSTEM_CERTS ?= 1
# The tests start hundreds of processes; each would compile every module that it imports.
unexport PYTHONDONTWRITEBYTECODE
PIP_INDEX = $${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}
UV_INSTALL = index="$(PIP_INDEX)"; $(UV) pip install --quiet $${index:+--default-index "$$index"}

# Older MLflow servers, each in an environment of its own: those that `make test` tests, and all that have pins.
TRIED := $(patsubst requirements/servers/%.txt,.servers/%/installed,$(wildcard requirements/servers/2.22.*.txt requirements/servers/3.1.*.txt))
# The login oidc-auth needs Python >= 3.12, and other releases of some packages than `requirements/dev.txt` pins.
OIDC := .servers/oidc-auth
OIDC_PYTHON ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.12.*/bin/python) 3.12)
# Datasette, which shows what contrib/datasette.json says.
DATASETTE := .servers/datasette
PINNED := $(patsubst requirements/servers/%.txt,.servers/%/installed,$(wildcard requirements/servers/*.txt))

.PHONY: docs site pictures schema install servers all-servers demo test test-long test-python lint types imports figures coverage bench lock \
  lock-servers wheel wheelhouse clean

install: $(STAMP)

# The stamp lets the next `make` start at once; a changed pin or dependency installs again. pip installs uv, at the
# pinned version and hashes, and uv installs the rest: it takes seconds where pip takes minutes.
$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("mlflow-reconciler needs Python >= 3.11, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	sed -n '/^uv==/,/^ *# via/p' requirements/dev.txt >$(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	$(UV_INSTALL) --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(UV_INSTALL) --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: install
	$(BIN)/mlflow-reconciler demo $(DEMO_ARGS)

test: lint types imports figures test-python

# Every pair of crashes, ten minutes of killed replicas, 10,000 idle cycles, every pinned MLflow server: hours.
test-long: all-servers
	LONG_TESTS=1 $(MAKE) test

test-python: install servers
	$(BIN)/python -m pytest $(PYTEST_ARGS)

servers: $(TRIED) $(OIDC)/installed $(DATASETTE)/installed

all-servers: $(PINNED) $(OIDC)/installed $(DATASETTE)/installed

# The package and a provider to log in at; tests put this project on the path.
$(OIDC)/installed: requirements/oidc-auth.txt | install
	rm -rf $(OIDC)
	mkdir -p $(OIDC)
	($(UV) venv --quiet --no-project --no-python-downloads --python $(OIDC_PYTHON) $(OIDC)/env && \
	  $(UV_INSTALL) --python $(OIDC)/env/bin/python --no-build --require-hashes -r $<) 2>$(OIDC)/not-installed && \
	  mv $(OIDC)/not-installed $@ || cat $(OIDC)/not-installed

$(DATASETTE)/installed: requirements/datasette.txt | install
	rm -rf $(DATASETTE)
	mkdir -p $(DATASETTE)
	($(UV) venv --quiet --no-project --python $(BIN)/python $(DATASETTE)/env && \
	  $(UV_INSTALL) --python $(DATASETTE)/env/bin/python --no-build --require-hashes -r $<) 2>$(DATASETTE)/not-installed && \
	  mv $(DATASETTE)/not-installed $@ || cat $(DATASETTE)/not-installed

# Only wheels: if one is missing for this Python, the reason is kept, and the skipped tests of that server name it.
.servers/%/installed: requirements/servers/%.txt | install
	rm -rf .servers/$*
	$(UV) venv --quiet --no-project --python $(BIN)/python .servers/$*
	$(UV_INSTALL) --python .servers/$*/bin/python --no-build --require-hashes -r $< 2>.servers/$*/not-installed && \
	  mv .servers/$*/not-installed $@ || cat .servers/$*/not-installed

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m bench $(BENCH_ARGS)

# Sizes of functions and files; `make coverage` runs the whole suite to measure which branches it takes.
figures: install
	$(BIN)/python contrib/figures.py

coverage: install servers
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/python contrib/figures.py --write $$($(BIN)/coverage report --format=total)

# The pages that are generated from the code.
docs: install
	$(BIN)/python docs/generate.py

# The documents as a site, in build/site. A link that leads nowhere ends it.
site: install
	$(BIN)/python contrib/site_of_documents.py

# Screenshots of the HTML report: needs chromium on this machine.
pictures: install
	PYTHONPATH=. $(BIN)/python docs/pictures.py

# What a new database looks like, for `db check`: after a new migration.
schema: install
	$(BIN)/python -m tests.store.describe

# Pins for every platform and Python, with hashes and without index addresses.
PIN := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --no-header

lock: install lock-servers
	$(PIN) --extra dev -c requirements/constraints.in pyproject.toml -o requirements/dev.txt
	$(PIN) --extra oidc -c requirements/constraints.in pyproject.toml requirements/oidc-auth.in -o requirements/oidc-auth.txt
	$(PIN) requirements/datasette.in -o requirements/datasette.txt

lock-servers: install
	for pins in requirements/servers/*.txt; do \
	  version=$$(basename $$pins .txt); \
	  printf 'mlflow==%s\nsetuptools\n' $$version | $(PIN) - -c requirements/servers/constraints.in -o $$pins || exit 1; \
	done

wheel: install
	$(BIN)/python -m hatchling build -t wheel -d dist

# Our wheel and all its dependencies, with hashes, for a host without a package index.
WHEELHOUSE ?= dist/wheelhouse
wheelhouse: install
	$(BIN)/python contrib/wheelhouse.py $(WHEELHOUSE) $(WHEELHOUSE_ARGS)

clean:
	rm -rf $(VENV) .servers build dist .pytest_cache .mypy_cache .ruff_cache .coverage .coverage.* .import_linter_cache .hypothesis
