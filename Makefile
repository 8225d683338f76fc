# `make` alone lists the targets. Everything that is installed goes into .venv, or one beside it; nothing else of the
# system changes.

PYTHON ?= python3
VENV ?= .venv
# The version of every package that is installed; empty: the newest ones.
LOCK ?= constraints/locked.txt
CMAKE ?= $(VENV)/bin/cmake
CLANG_FORMAT := $(VENV)/bin/clang-format
PYTEST_ARGS ?=
# How many tests run at a time: many wait more than they compute.
WORKERS ?= 2
BENCH_ARGS ?=

# What the installed package is made of.
SOURCES := $(shell find src native -type f -not -path '*/_lib/*' -not -name '*.pyc') pyproject.toml CMakeLists.txt README.md
PYTHON_SOURCES := src tests benchmarks examples release
C_SOURCES := $(shell find native examples benchmarks tests -name '*.[ch]' -not -path '*/build/*' 2>/dev/null)
ENGINE_SOURCES := $(shell find native/core native/host native/preload -name '*.c' 2>/dev/null)
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(LOCK:%=--constraint %)
# CC: a Python names the compiler that it was built with, which need not be here. A build belongs to one environment,
# whose cmake and ninja it remembers.
INSTALL := CC='$(CC)' $(PIP) --no-build-isolation --config-settings=cmake.define.HEAPWITNESS_STRICT=ON \
	--config-settings=build-dir='build/{wheel_tag}$(notdir $(VENV))'
# Sets of packages in pyproject.toml that targets install.
EXTRAS := test lint docs coverage release
# One file for all Pythons and systems that are supported, which a resolver that asks the running Python cannot make.
COMPILE := $(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --no-annotate \
	--custom-compile-command 'make lock' --upgrade

.DEFAULT_GOAL := help
.PHONY: help demo test test-arm test-newest test-oldest lock lint format docs coverage coverage-python release bench screenshots menuconfig build clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do printf 'make %-15s %s\n' "$$name" "$$text"; done

demo: $(VENV)/.installed ## compile the examples, run them under heapwitness and show the reports
	$(MAKE) -C examples demo HEAPWITNESS='$(abspath $(VENV))/bin/heapwitness' PYTHON='$(abspath $(VENV))/bin/python'

test: $(VENV)/.installed $(VENV)/.test-tools ## run all tests against the installed package (PYTEST_ARGS='-k name')
	$(VENV)/bin/python -m pytest tests --numprocesses=$(WORKERS) --dist=worksteal $(PYTEST_ARGS)

test-arm: $(VENV)/.installed $(VENV)/.test-tools ## run the tests of AArch64, by a cross compiler and qemu-user
	$(VENV)/bin/python -m pytest tests/system/test_arm_engine.py tests/system/test_arm_findings.py $(PYTEST_ARGS)

test-newest: ## the same with the newest release of everything, in .venv-newest
	rm -rf $(VENV)-newest
	$(MAKE) test VENV=$(VENV)-newest LOCK=

test-oldest: ## the same with the oldest releases that pyproject.toml allows, in .venv-oldest
	$(MAKE) test VENV=$(VENV)-oldest LOCK=constraints/oldest.txt

lock: ## renew the versions in constraints/: of the newest releases, and of the oldest that are allowed
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check --upgrade uv
	$(COMPILE) pyproject.toml --all-extras constraints/*.in --output-file constraints/locked.txt
	$(COMPILE) pyproject.toml --extra test constraints/build.in --resolution lowest-direct --output-file constraints/oldest.txt

lint: $(VENV)/.installed $(VENV)/.lint-tools $(VENV)/.test-tools ## check style and types of the Python and the C sources
	$(VENV)/bin/ruff check $(PYTHON_SOURCES)
	$(VENV)/bin/ruff format --check $(PYTHON_SOURCES)
	$(VENV)/bin/python -m mypy
	$(VENV)/bin/python tests/check_types.py
	$(VENV)/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(VENV)/bin/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/f*.yml
	$(CLANG_FORMAT) --dry-run -Werror $(C_SOURCES)
	$(CMAKE) -S . -B build/tidy -DCMAKE_BUILD_TYPE=Release -DCMAKE_EXPORT_COMPILE_COMMANDS=ON >/dev/null
	$(VENV)/bin/clang-tidy -p build/tidy --quiet $(ENGINE_SOURCES)

format: $(VENV)/.lint-tools ## bring the Python and the C sources into that style
	$(VENV)/bin/ruff check --fix $(PYTHON_SOURCES)
	$(VENV)/bin/ruff format $(PYTHON_SOURCES)
	$(CLANG_FORMAT) -i $(C_SOURCES)

docs: $(VENV)/.installed $(VENV)/.docs-tools ## make docs/api.md from the docstrings, and the site in build/site; a broken link is an error
	$(VENV)/bin/python release/api.py docs/api.md
	$(VENV)/bin/python release/site.py build/site-pages
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --config-file build/site-pages/mkdocs.yml --site-dir $(CURDIR)/build/site

coverage: $(VENV)/.installed $(VENV)/.coverage-tools ## which lines of C the stress tests run, and if that is enough: build/coverage/report
	$(VENV)/bin/python tests/measure_coverage.py build/coverage

# Of this process alone: what the commands run in processes of their own belongs to the system tests.
coverage-python: $(VENV)/.installed $(VENV)/.test-tools $(VENV)/.coverage-tools ## the same of Python, by the unit and property tests: build/coverage/python
	$(VENV)/bin/python -m coverage run -m pytest tests/unit tests/property $(PYTEST_ARGS)
	$(VENV)/bin/python -m coverage html --directory build/coverage/python
	$(VENV)/bin/python -m coverage report --skip-covered

release: $(VENV)/.installed $(VENV)/.release-tools ## make and check in dist/: the sdist, and wheels for this machine and AArch64
	$(VENV)/bin/python release/build.py dist
	$(VENV)/bin/python release/check.py dist

bench: $(VENV)/.installed ## run real programs with and without the engine and print the ratios
	$(VENV)/bin/python benchmarks/run.py $(BENCH_ARGS)

screenshots: $(VENV)/.installed ## take the pictures of docs/images in a browser (Debian: chromium)
	$(MAKE) -C examples all
	$(VENV)/bin/python benchmarks/screenshots.py docs/images

menuconfig: $(VENV)/.installed ## edit .config of a LiteOS kernel's heap
	$(VENV)/bin/heapwitness menuconfig

build: $(VENV)/.build-tools ## compile only: the libraries into src/heapwitness/_lib, for PYTHONPATH=src
	@mkdir -p build
	$(CMAKE) -S . -B build/dev -DCMAKE_BUILD_TYPE=Release -DHEAPWITNESS_STRICT=ON >build/dev.log || { cat build/dev.log; exit 1; }
	$(CMAKE) --build build/dev -j2 --target heapwitness_core_shared heapwitness_blocks heapwitness_preload
	mkdir -p src/heapwitness/_lib
	cp --remove-destination build/dev/native/libheapwitness_*.so src/heapwitness/_lib/

clean: ## remove what was built; environments stay
	rm -rf build dist src/heapwitness/_lib examples/build
	rm -f $(VENV)*/.installed

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "heapwitness needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.build-tools: constraints/build.in $(LOCK) | $(VENV)/bin/python
	$(PIP) --requirement constraints/build.in
	@touch $@

# Not editable: what is tested and shown is what users get. Again only when a source is newer.
$(VENV)/.installed: $(SOURCES) $(VENV)/.build-tools
	$(INSTALL) .
	@touch $@

$(EXTRAS:%=$(VENV)/.%-tools): $(VENV)/.%-tools: pyproject.toml $(LOCK) | $(VENV)/.installed
	$(INSTALL) '.[$*]'
	@touch $@
