# make demo | test | check | docs | wheel-test | venv | argilla | clean. Needs CPython >= 3.11 with venv, git and make, nothing else.
#
# PYTHON        the interpreter to build the environment with
# TORCH_INDEX   the index to take torch from, for example https://download.pytorch.org/whl/cpu
# DEMO, TEST    further arguments of `eva-data build` and of pytest

PYTHON ?= python3
TORCH_INDEX ?=
DEMO ?=
TEST ?=

BIN := .venv/bin
READY := .venv/ready
ARGILLA := .venv-argilla/ready
# pip leaves a torch alone that is there already. Without its dependencies, which an index of torch builds holds in
# other versions than constraints.txt; they come with eva-data's.
PIP := -m pip --disable-pip-version-check -qq
TORCH := --no-deps torch==2.13.0 $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)")

.PHONY: demo test check lint docs wheel-test venv argilla clean
.DEFAULT_GOAL := demo

demo: $(READY)
	$(BIN)/eva-data build --iter 2 $(DEMO)

test: $(READY)
	$(BIN)/python -m pytest $(TEST)

check: lint test

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check

# The pages that follow from the code: docs/settings.md and docs/commands.md.
docs: $(READY)
	$(BIN)/python docs/generate.py

venv: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "eva-data needs CPython 3.11 or newer, $(PYTHON) is older: make PYTHON=python3.12 ..."; exit 1; }
	@echo "environment .venv: creating (1/3)"
	@$(PYTHON) -m venv .venv
	@echo "environment .venv: installing torch (2/3)"
	@$(BIN)/python $(PIP) install $(TORCH)
	@echo "environment .venv: installing eva-data and about 80 packages (3/3)"
	@$(BIN)/python $(PIP) install -c constraints.txt -e '.[train,dev]'
	@touch $(READY)

# The server that the tests of the review run against; without it they are skipped.
argilla: $(ARGILLA)

$(ARGILLA): tests/servers/argilla-constraints.txt
	@echo "environment .venv-argilla: installing argilla-server"
	@$(PYTHON) -m venv .venv-argilla
	@.venv-argilla/bin/python $(PIP) install -c $< argilla-server==2.8.0
	@touch $@

# The wheel, made from the sdist, does the main job in an environment without a checkout, dev tools or a network.
wheel-test: $(READY)
	.ci/wheel-test

clean:
	rm -rf .venv .venv-argilla build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
