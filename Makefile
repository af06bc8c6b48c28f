# Everything runs in .venv, which each target makes first where it is missing or older than requirements.txt.

PYTHON ?= python3
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
MAKEFLAGS += --jobs=$(JOBS)

VENV := .venv/installed
BIN := .venv/bin
# One that compiles the engine first, beside it those that have no need of it: else it would be compiled twice at once.
FIRST := $(patsubst %,book/%.ipynb,copy_task memory addressing the_story controller glossary references)
CHAPTERS := $(FIRST) $(filter-out $(FIRST),$(wildcard book/*.ipynb))
EXECUTED := $(CHAPTERS:book/%=_build/book/%)
PACKAGE := $(shell find ntm -name "*.py" -o -name "*.js") tools/book.py
DATA := $(shell find data -type f 2>/dev/null)
PAGES := _config.yml _toc.yml $(wildcard book/_assets/*)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help book test machines lint tidy lab bench clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile

book: _build/site ## run the chapters that changed and build the site
	@echo "The site is at $(CURDIR)/_build/html/index.html"

_build/site: $(EXECUTED) $(PAGES)
	@echo "Building the site"
	@$(BIN)/python tools/book.py site _build/book .
	@touch $@

_build/book/%.ipynb: book/%.ipynb $(PACKAGE) $(DATA) $(VENV)
	@$(BIN)/python tools/book.py execute $< $@

test: lint ## check the sources, the package, every chapter at small sizes, the pages in a browser, and other processors
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder
	@$(BIN)/python tools/machines.py

machines: $(VENV) ## all tests and all chapters as each of the other processors that can be simulated (an hour)
	@$(BIN)/python tools/machines.py --all

lint: $(VENV) ## check style, types, and that no notebook carries outputs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/nbstripout --verify --keep-id $(CHAPTERS)

tidy: $(VENV) ## strip the notebooks of outputs and format everything
	@$(BIN)/nbstripout --keep-id $(CHAPTERS)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lab: $(VENV) ## open the chapters in JupyterLab
	@$(BIN)/jupyter lab book

bench: .venv-bench/installed ## time it against JAX, torch.compile and the dnc package (a quarter of an hour, in .venv-bench)
	@.venv-bench/bin/python tools/bench.py --solve 5

clean: ## remove what was built (.venv and .venv-bench stay)
	rm -rf _build .mypy_cache .pytest_cache .ruff_cache
	find ntm -name __pycache__ -exec rm -rf {} +

$(VENV): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " \
		+ sys.version.split()[0] + ". Name another with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -r requirements.txt
	@touch $@

.venv-bench/installed: requirements.txt requirements-bench.txt pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet -r requirements.txt
	.venv-bench/bin/pip install --quiet --no-deps -r requirements-bench.txt
	@touch $@
