# What one can do here. The first use of a target sets up .venv; nothing else is needed but python3.
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Half of the time of the tests is waiting for processes, so one worker a core is not too many.
WORKERS ?= auto

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format golden docs bench e2e chaos soak controlplane cluster clean

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
	$(BIN)/python -m benchmarks.submit
	$(BIN)/python -m benchmarks.interruptions
	$(BIN)/python -m benchmarks.checkpoint
	$(BIN)/python -m benchmarks.frameworks
	$(BIN)/python -m benchmarks.goodput
	$(BIN)/python -m benchmarks.quantize

e2e: $(READY)  ## the longest tests: a real Kubernetes control plane, kills, several ranks, the demo
	$(BIN)/python -m tests.cluster.build
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m e2e

chaos: $(READY)  ## kill a training a thousand times, most of them in a save; compare the weights
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.runtime.chaos 1000

soak: $(READY)  ## the runs of thousands: more kills, more random specs
	GPUKIT_SOAK=1 $(BIN)/python -m pytest -q -n $(WORKERS) tests/runtime/test_kill.py tests/property tests/unit \
		tests/runtime/test_checkpoint_files.py tests/quantize/test_large.py tests/quantize/test_page.py \
		tests/cluster/test_strict.py tests/cluster/test_interruptions.py tests/healing
	$(BIN)/python -m benchmarks.calibration

controlplane: $(READY)  ## build Kubernetes' control plane for the tests, once (10 minutes, needs Go)
	$(BIN)/python -m tests.cluster.build

cluster: $(READY)  ## keep a test cluster running and print its kubeconfig
	@$(BIN)/python -m tests.cluster.build >/dev/null
	@$(BIN)/python -m tests.cluster $(if $(PLATFORM),--platform $(PLATFORM))

clean:  ## remove what was built
	rm -rf $(VENV) .gpukit .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
