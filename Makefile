# What one can do here. The first use of a target sets up .venv; nothing else is needed but python3.
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Half of the time of the tests is waiting for processes, so one worker a core is not too many.
WORKERS ?= auto

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format golden docs bench e2e soak clean

help:  ## list the targets
	@sed -n 's/^\([a-z0-9]*\):.*##  *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(READY)  ## make .venv with all that the other targets need

$(READY): pyproject.toml
	python3 -m venv $(VENV)
	@command -v uv >/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	PATH="$(CURDIR)/$(BIN):$$PATH" uv pip install --quiet --python $(BIN)/python -e '.[dev]'
	@touch $@

demo: $(READY)  ## train, be interrupted, resume, and compare the weights bit by bit
	@$(BIN)/python -m examples.demo

test: $(READY)  ## the tests, without the longest ones
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not e2e"

check: $(READY)  ## lint, format, types, and that generated files are up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.golden.regenerate --check
	$(BIN)/python -m docs.generate --check

format: $(READY)  ## format the code
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

golden: $(READY)  ## write the golden manifests anew
	$(BIN)/python -m tests.golden.regenerate

docs: $(READY)  ## write the generated pages of the reference anew
	$(BIN)/python -m docs.generate

bench: $(READY)  ## measure against peers, side by side; prints ratios
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.mig_plan

e2e: $(READY)  ## the longest tests: kills at random moments, several ranks, the demo, frameworks
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m e2e

soak: $(READY)  ## the runs of thousands: more kills, more random specs
	GPUKIT_SOAK=1 $(BIN)/python -m pytest -q -n $(WORKERS) tests/runtime/test_kill.py tests/property
	$(BIN)/python -m benchmarks.calibration

clean:  ## remove what was built
	rm -rf $(VENV) .gpukit .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
