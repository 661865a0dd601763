# `make demo` and `make test` set themselves up: Python 3.11 or newer, make and pip are all they need.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
TREE := build/tree

.PHONY: setup demo test lint types imports tree docs clean

setup: .venv/.complete

.venv/.complete: setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) install --constraint constraints.txt setuptools
	$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[dev,docs]'
	touch $@

demo: setup
	$(BIN)/keyface demo

# The console script, since `python -m pytest` would put the folder keyface/ before the installed package.
test: setup
	$(BIN)/pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The package as it is installed: setup.cfg maps the top-level folders into it, type checkers do not.
tree: setup
	rm -rf $(TREE)
	$(BIN)/python -c 'import setuptools; setuptools.setup()' --quiet build_py --build-lib $(TREE)

types: tree
	cd $(TREE) && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/setup.cfg --cache-dir $(CURDIR)/.mypy_cache -p keyface

imports: tree
	cd $(TREE) && $(CURDIR)/$(BIN)/lint-imports --config $(CURDIR)/setup.cfg --no-cache

# The site of docs/ and ARCHITECTURE.md; a link that leads nowhere is an error.
docs: setup
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -c docs . build/docs
	@echo build/docs/index.html

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
