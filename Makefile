# Two commands on a fresh machine: `make quick`, `make test`. `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
OUT ?= results
SITE ?= site
BASE ?= main
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

export OMP_WAIT_POLICY = passive

.PHONY: help quick repro test slow lint docs report bench clean

help:  ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 10

quick: $(VENV)/.installed  ## install, solve toy_ipm with Gauss-Newton, print the result
	$(BIN)/usd-bench run --problem toy_ipm --solver gauss_newton --out $(OUT)

repro: $(VENV)/.installed-data  ## dvc: generated data, references, smoke suite and its report, what is out of date of them
	$(BIN)/dvc repro

test: $(VENV)/.installed-test  ## install with the test extras, run the tests
	$(BIN)/python -m pytest -n auto

slow: $(VENV)/.installed-test  ## the proofs that take minutes
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed-dev  ## ruff, mypy, import-linter; the Dockerfile by hadolint, the workflows by zizmor
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/zizmor --offline --quiet .github

docs: $(VENV)/.installed-docs  ## build the site into site/, every number from results/published, asv's pages if there are
	$(BIN)/python docs/generate.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir $(SITE)
	if [ -d .asv/results ]; then $(BIN)/asv publish --no-pull --html-dir $(SITE)/benchmarks; fi

report: $(VENV)/.installed  ## one HTML page of the store OUT
	$(BIN)/usd-bench report --out $(OUT)

bench: $(VENV)/.installed-bench  ## time this commit against BASE (main): a table, exit code 1 for a regression
	$(BIN)/asv machine --yes
	$(BIN)/asv continuous $(BASE) HEAD

clean:  ## remove caches; results and the environment stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed-test: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[test]'
	touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[dev]'
	touch $@

$(VENV)/.installed-data: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[data]'
	touch $@

$(VENV)/.installed-docs: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[docs]'
	touch $@

$(VENV)/.installed-bench: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[bench]'
	touch $@
