# `make demo` and `make test` set themselves up: Python 3.11 or newer, make and pip are all they need.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
TREE := build/tree
UV := build/uv

# insightface asks for opencv-python, which does not import without libGL and fills the folder of
# opencv-python-headless; the latter does all that insightface needs. So the former is not installed, and this is
# the one line that `pip check` must print. pip installs the pins alone (--no-deps), and `pip check` finds a lack.
LEFT_OUT := insightface [0-9.]+ requires opencv-python, which is not installed\.

# As many test processes as there are cores and memory for (tests/conftest.py), or `make test JOBS=1`.
JOBS ?= auto
TESTS ?=

.PHONY: setup hooks demo test slowest lint types imports tree docs constraints clean \
    fuzz chaos load mutants sbom audit

setup: .venv/.complete

.venv/.complete: setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'Installing into .venv; the first time about 3 GB are fetched, which takes some minutes.'
	$(PIP) install --no-deps --require-hashes --only-binary :all: --requirement constraints.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@said=$$($(BIN)/python -m pip --disable-pip-version-check check); \
	    if printf '%s\n' "$$said" | grep -Evx '$(LEFT_OUT)'; then \
	    echo 'pip check must say that insightface lacks opencv-python, and nothing else' >&2; exit 1; fi
	touch $@

# Checks before each commit and push, see .pre-commit-config.yaml.
hooks: setup
	$(BIN)/pre-commit install --hook-type pre-commit --hook-type pre-push

demo: setup
	$(BIN)/keyface demo

# The console script, since `python -m pytest` would put the folder keyface/ before the installed package.
# Each process has one thread, which waits without spinning: two threads each would fight for the cores.
test: setup
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest --numprocesses $(JOBS) --dist worksteal $(TESTS)

# The same with the twenty slowest tests and fixtures.
slowest:
	$(MAKE) test TESTS='--durations=20 $(TESTS)'

# Hostile input: 1,000 inputs of each kind that nobody has seen; those that fail are kept in build/fuzz.
INPUTS ?= 1000
SEED ?= $(shell date +%s)
fuzz: setup
	@echo 'SEED=$(SEED) repeats this run'
	KEYFACE_FUZZ=$(INPUTS) KEYFACE_FUZZ_SEED=$(SEED) KEYFACE_FUZZ_KEEP=build/fuzz \
	    $(MAKE) test TESTS='tests/fuzz $(TESTS)'

# Work disturbed at many random moments, and up to eight processes at once; TESTS='-k edit' for one of them.
MOMENTS ?= 50
chaos: setup
	@echo 'SEED=$(SEED) repeats this run'
	KEYFACE_CHAOS=$(MOMENTS) KEYFACE_CHAOS_SEED=$(SEED) KEYFACE_CHAOS_PROCESSES=2,4,8 \
	    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -s tests/chaos $(TESTS)

# The studio under load: requests, ten at once, among them cancelled edits and broken uploads.
REQUESTS ?= 100
load: setup
	KEYFACE_STUDIO_REQUESTS=$(REQUESTS) OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE \
	    $(BIN)/pytest -s tests/studio/test_load.py $(TESTS)

# Small faults put into one module, each of which its tests should notice: make mutants MODULE=keyface/losses.py
# The tests of a module are found by its name; TESTS='tests/a.py tests/b.py' names others. SAMPLE=60 tries so many,
# drawn with SEED; AGAIN=1 those alone that were not noticed the last time. docs/mutants.md has the results.
MODULE ?= keyface/losses.py
mutants: setup
	$(BIN)/python scripts/mutants.py $(MODULE) $(TESTS)

# What an installation consists of, as CycloneDX JSON, and under which licences.
sbom: setup
	mkdir -p build
	$(BIN)/cyclonedx-py environment --output-reproducible --of JSON --output-file build/sbom.json $(BIN)/python
	$(BIN)/python -P scripts/licences.py build/sbom.json

# Known vulnerabilities of the pinned versions, where somebody can be asked.
audit: setup
	$(BIN)/python -P scripts/audit.py constraints.txt

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

# Make constraints.txt what setup.cfg asks for. Pins that fit are kept; UPGRADE=--upgrade takes the newest of all,
# UPGRADE='--upgrade-package torch' of one. uv resolves for every platform and Python at once and asks the
# registry alone, not the folders that this machine's pip may know. Windows and browsers are left out.
# Buckets (s3, gs) and W&B's reports (dashboard) are for those who have one, or a login.
EXTRAS := faces insightface evaluate studio docs dev
constraints:
	$(PYTHON) -m venv $(UV)
	$(UV)/bin/python -m pip --disable-pip-version-check --quiet install 'uv>=0.9,<1'
	echo 'opencv-python; python_version < "3"' > build/left_out.txt
	$(UV)/bin/uv pip compile setup.cfg $(addprefix --extra ,$(EXTRAS)) --universal --python-version 3.11 \
	    --fork-strategy fewest \
	    --generate-hashes --no-emit-package colorama --no-emit-package httpx2-jsfetch --no-header --quiet \
	    --override build/left_out.txt $(UPGRADE) --output-file constraints.txt > /dev/null
	printf '%s\n' "$$CONSTRAINTS_HEADER" | cat - constraints.txt > build/constraints.txt
	mv build/constraints.txt constraints.txt

define CONSTRAINTS_HEADER
# Every version that `make setup` installs, with the hashes of all its files, so that a fresh install next year
# is today's: pip refuses whatever has another hash. Made by `make constraints` from setup.cfg; change that
# file, not this one. `via` says what a package is here for.
endef
export CONSTRAINTS_HEADER

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
