# Everything runs from .venv, which the first target that needs it creates. `make` lists the targets.
#
#   make PYTHON=python3.12 test             another interpreter (for a new .venv)
#   make test PYTEST_ARGS="-k kmeans -x"    a part of the suite
#   make test PYTEST_PROCESSES=             in one process

PYTHON ?=
PYTEST_ARGS ?=
PYTEST_PROCESSES ?= -n auto --maxprocesses=4 --dist worksteal
BENCH_ARGS ?=

venv := .venv
bin := $(venv)/bin
# Newest first; the first that is 3.11 or later, runs, and can make an environment is taken.
candidates := $(or $(PYTHON),python3.15 python3.14 python3.13 python3.12 python3.11 python3 python)

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help venv demo test lint format types bench docs notebooks picture clean-cache clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# --- the environment -------------------------------------------------------------------------
# A stamp says which extra is installed; it is older than pyproject.toml when that has changed.

define MAKE_VENV
usable=
for python in $(candidates); do
    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        usable="$$usable $$python"
    fi
done
if [ -z "$$usable" ]; then
    echo "No Python 3.11 or later among: $(candidates)." >&2
    echo "Install one (Debian: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3 ..." >&2
    exit 1
fi
try() {
    rm -rf "$(venv)"
    "$$@" >/dev/null 2>&1 && "$(bin)/python" -m pip --version >/dev/null 2>&1
}
made() {
    echo "$(venv): $$("$(bin)/python" --version), made by $$1"
    exit 0
}
without_pip() {
    "$$1" -m venv --without-pip "$(venv)" && shift && "$$@" install pip
}
# First the standard way with each interpreter; then, newest first, whatever else can bring pip.
for python in $$usable; do
    try "$$python" -m venv "$(venv)" && made "$$python -m venv"
done
for python in $$usable; do
    try "$$python" -m virtualenv "$(venv)" && made "$$python -m virtualenv"
    try virtualenv --python "$$python" "$(venv)" && made "virtualenv --python $$python"
    try uv venv --seed --python "$$python" "$(venv)" && made "uv venv --python $$python"
    try without_pip "$$python" "$$python" -m pip --python "$(bin)/python" && made "$$python -m pip"
    for wheel in /usr/share/python-wheels/pip-*.whl /usr/lib/python3*/ensurepip/_bundled/pip-*.whl; do
        [ -e "$$wheel" ] || continue
        try without_pip "$$python" "$(bin)/python" "$$wheel/pip" && made "$$python and $$wheel"
    done
done
rm -rf "$(venv)"
echo "Found$$usable, but none can make a virtual environment: ensurepip, virtualenv, uv and pip are all missing." >&2
echo "Install one of them (Debian: apt-get install python3-venv) and run make again." >&2
exit 1
endef
export MAKE_VENV

$(bin)/python:
	@sh -eu -c "$$MAKE_VENV"

# $(call install,what) installs the package in place with what it needs
install = echo "Installing daskml-kit$(1) into $(venv); the first time takes a few minutes." \
	&& $(bin)/python -m pip install --quiet --editable '.$(1)'

$(venv)/.stamp-run: pyproject.toml | $(bin)/python
	@$(call install)
	@touch $@

$(venv)/.stamp-%: pyproject.toml | $(bin)/python
	@$(call install,[$*])
	@touch $@

# Kernels are compiled again where one has changed.
$(venv)/.stamp-kernels: $(wildcard daskml_kit/kernels/*.py daskml_kit/losses/*.py)
	@echo "Compiling kernels on all cores; a minute or two, once."
	@$(bin)/daskml-kit compile
	@touch $@

venv: $(bin)/python  ## create the virtual environment, with nothing in it yet

# --- using it --------------------------------------------------------------------------------

demo: $(venv)/.stamp-run $(venv)/.stamp-kernels  ## install the package and run its demonstration
	$(bin)/daskml-kit demo

test: $(venv)/.stamp-test $(venv)/.stamp-kernels  ## run the whole test suite, docstring examples included
	$(bin)/python -m pytest $(PYTEST_PROCESSES) $(PYTEST_ARGS)

# --- checks ----------------------------------------------------------------------------------

lint: $(venv)/.stamp-dev  ## ruff: rules and format
	$(bin)/ruff check .
	$(bin)/ruff format --check .

format: $(venv)/.stamp-dev  ## ruff: mend what it can mend
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

types: $(venv)/.stamp-dev  ## mypy, strict, on the package
	$(bin)/mypy

# --- the rest --------------------------------------------------------------------------------

bench: $(venv)/.stamp-bench  ## run the benchmarks (comparisons with Spark need Java)
	$(bin)/python -m benchmarks $(BENCH_ARGS)

docs: $(venv)/.stamp-docs  ## build the documentation into docs/_build
	$(bin)/python -m sphinx --fail-on-warning --keep-going -b html docs docs/_build/html

notebooks: $(venv)/.stamp-test  ## execute every notebook, leaving the files as they are
	@set -e; for notebook in notebooks/*.ipynb; do \
		[ -e "$$notebook" ] || { echo "notebooks/ holds no notebook"; exit 1; }; \
		echo "$$notebook"; $(bin)/jupyter-execute "$$notebook"; \
	done

picture: $(venv)/.stamp-test  ## take the README's pictures of the dashboard (needs Chromium)
	$(bin)/python docs/images/make_load_balance.py

clean-cache:  ## drop compiled Numba kernels: needed after a change in code that a kernel inlines
	find daskml_kit tests benchmarks \( -name '*.nbi' -o -name '*.nbc' \) -exec rm -f {} + 2>/dev/null || true
	rm -f $(venv)/.stamp-kernels

clean: clean-cache  ## remove the environment, caches and everything a run leaves behind
	rm -rf $(venv) build dist docs/_build .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf dask-worker-space dask-scratch-space spark-warehouse
	rm -f demo-report.html demo-*.png
	find . -name .git -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints -o -name '*.egg-info' \) -type d -prune -exec rm -rf {} +
