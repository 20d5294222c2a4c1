# make demo | test | test-fast | test-long | notebook | check | lint | docs | wheel-test | venv | argilla | ray | real-model | clean
#
# Needs CPython >= 3.11 with venv, git and make, and nothing else.
#
# PYTHON        the interpreter to build the environment with
# TORCH_INDEX   the index to take torch from, for example https://download.pytorch.org/whl/cpu
# DEMO, TEST    further arguments for `eva-data build` and for pytest

PYTHON ?= python3
TORCH_INDEX ?=
DEMO ?=
TEST ?=
# The number of processes for the tests; 0 runs them in pytest's own process. Three on two cores, since Distilabel sleeps
# two and a half seconds at the start of every pipeline.
WORKERS ?= 3

BIN := .venv/bin
READY := .venv/ready
ARGILLA := .venv-argilla/ready
RAY := .venv-ray/ready
LOWEST := .venv-lowest/ready
# pip keeps a torch that is installed already. torch's dependencies come later, with those of eva-data: an index of torch
# builds holds other versions of them than constraints.txt.
PIP := -m pip --disable-pip-version-check -qq
TORCH := --no-deps torch==2.13.0 $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)")

.PHONY: demo test test-fast test-long notebook check lint docs wheel-test venv argilla ray real-model clean
.DEFAULT_GOAL := demo

demo: $(READY)
	$(BIN)/eva-data build --iter 2 $(DEMO)

# All tests but those marked `long`, in several processes.
test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TEST)

# The quick tests, which run no model: a minute and a half of one processor.
test-fast: $(READY)
	$(BIN)/python -m pytest -m "not slow and not long and not argilla and not ray" $(TEST)

# The tests that take more than a minute each.
test-long: $(READY)
	$(BIN)/python -m pytest -m long $(TEST)

# Executes the notebook of the docs: a minute and a half of one processor.
notebook: $(READY)
	$(BIN)/python -m pytest --nbmake --nbmake-timeout=600 docs/first-hour.ipynb

check: lint test notebook

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check

# Writes the pages that follow from the code and from results; docs/generate.py lists them.
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

# The server for the tests of the review, which are skipped without it.
argilla: $(ARGILLA)

$(ARGILLA): tests/servers/argilla-constraints.txt
	@echo "environment .venv-argilla: installing argilla-server"
	@$(PYTHON) -m venv .venv-argilla
	@.venv-argilla/bin/python $(PIP) install -c $< argilla-server==2.8.0
	@touch $@

# The tests on a small Ray cluster: two minutes of two processors. Their environment is .venv with Ray beside it.
ray: $(RAY)
	.venv-ray/bin/python -m pytest -m "ray and not long" tests/models/test_ray_engine.py $(TEST)

$(RAY): $(READY)
	@echo "environment .venv-ray: installing Ray"
	@$(PYTHON) -m venv .venv-ray
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(" + repr(sysconfig.get_path("purelib")) + ")")' \
	  > $$(.venv-ray/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/main.pth
	@.venv-ray/bin/python $(PIP) install -c constraints.txt ray
	@touch $@

# For .ci/lowest: the oldest versions that pyproject.toml admits. Most of 20,000 modules are never imported, so none is
# compiled ahead.
$(LOWEST): constraints-lowest.txt pyproject.toml
	@echo "environment .venv-lowest: installing the oldest versions"
	@rm -rf .venv-lowest
	@$(PYTHON) -m venv .venv-lowest
	@.venv-lowest/bin/python $(PIP) install --no-compile $(TORCH)
	@.venv-lowest/bin/python $(PIP) install --no-compile -c $< -e '.[train,dev]'
	@touch $@

# A real model of 135 million parameters for one of the long tests, in the user's cache (540 MB).
real-model: $(READY)
	$(BIN)/python tests/servers/smollm2.py

# Makes the wheel from the sdist, and tests that it does the main job without a checkout, dev tools or a network.
wheel-test: $(READY)
	.ci/wheel-test

clean:
	rm -rf .venv .venv-argilla .venv-ray .venv-lowest build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
