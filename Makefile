# `make` alone lists the targets. Everything that is installed goes into .venv; nothing else of the system changes.

PYTHON ?= python3
VENV ?= .venv
CMAKE ?= $(VENV)/bin/cmake
CLANG_FORMAT := $(VENV)/bin/clang-format
PYTEST_ARGS ?=
BENCH_ARGS ?=

# What the installed package is made of.
SOURCES := $(shell find src native -type f -not -path '*/_lib/*' -not -name '*.pyc') pyproject.toml CMakeLists.txt README.md
C_SOURCES := $(shell find native examples benchmarks tests -name '*.[ch]' -not -path '*/build/*' 2>/dev/null)
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
# CC: a Python names the compiler that it was built with, which need not be here.
INSTALL := CC='$(CC)' $(PIP) --no-build-isolation --config-settings=cmake.define.HEAPWITNESS_STRICT=ON
BUILD_TOOLS := 'scikit-build-core>=0.10' 'cmake>=3.20' 'ninja>=1.11'

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench menuconfig build clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do printf 'make %-12s %s\n' "$$name" "$$text"; done

demo: $(VENV)/.installed ## compile the examples, run them under heapwitness and show the reports
	$(MAKE) -C examples demo HEAPWITNESS='$(abspath $(VENV))/bin/heapwitness' PYTHON='$(abspath $(VENV))/bin/python'

test: $(VENV)/.installed $(VENV)/.test-tools ## run all tests against the installed package (PYTEST_ARGS='-k name')
	$(VENV)/bin/python -m pytest tests $(PYTEST_ARGS)

lint: $(VENV)/.installed $(VENV)/.test-tools ## check style and types of the Python and the C sources
	$(VENV)/bin/ruff check src tests benchmarks examples
	$(VENV)/bin/ruff format --check src tests benchmarks examples
	$(VENV)/bin/python -m mypy
	$(CLANG_FORMAT) --dry-run -Werror $(C_SOURCES)

format: $(VENV)/.test-tools ## bring the Python and the C sources into that style
	$(VENV)/bin/ruff check --fix src tests benchmarks examples
	$(VENV)/bin/ruff format src tests benchmarks examples
	$(CLANG_FORMAT) -i $(C_SOURCES)

bench: $(VENV)/.installed ## run real programs with and without the engine and print the ratios
	$(VENV)/bin/python benchmarks/run.py $(BENCH_ARGS)

menuconfig: $(VENV)/.installed ## edit .config of a LiteOS kernel's heap
	$(VENV)/bin/heapwitness menuconfig

build: $(VENV)/.build-tools ## compile only: both libraries into src/heapwitness/_lib, for PYTHONPATH=src
	@mkdir -p build
	$(CMAKE) -S . -B build/dev -DCMAKE_BUILD_TYPE=Release -DHEAPWITNESS_STRICT=ON >build/dev.log || { cat build/dev.log; exit 1; }
	$(CMAKE) --build build/dev -j2 --target heapwitness_core_shared heapwitness_preload
	mkdir -p src/heapwitness/_lib
	cp --remove-destination build/dev/native/libheapwitness_*.so src/heapwitness/_lib/

clean: ## remove what was built; .venv stays
	rm -rf build dist src/heapwitness/_lib examples/build
	rm -f $(VENV)/.installed

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "heapwitness needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.build-tools: | $(VENV)/bin/python
	$(PIP) $(BUILD_TOOLS)
	@touch $@

# Not editable: what is tested and shown is what users get. Again only when a source is newer.
$(VENV)/.installed: $(SOURCES) $(VENV)/.build-tools
	$(INSTALL) .
	@touch $@

$(VENV)/.test-tools: pyproject.toml | $(VENV)/.installed
	$(INSTALL) '.[test]'
	@touch $@
