# make demo    the main job on this machine: train, fetch, verify, restore, resume
# make test    all tests
# make check   format, lint, types and the fast tests: what to run before every commit
# make prove   the full counts of every sweep, with a table of figures
# make bench   what is measured against what, side by side
# make docs    write the generated reference pages anew
.PHONY: demo test check lint format prove bench docs clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One thread for each of torch's pools: tests run side by side, and one thread is what "equal to the bit" is stated for.
# Byte code is kept even where the environment forbids it: the tests start hundreds of processes
ENVIRONMENT := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=
PYTEST := $(ENVIRONMENT) $(BIN)/python -m pytest
DEMO := demo

demo: $(READY)
	rm -rf $(DEMO) && mkdir $(DEMO)
	cd $(DEMO) && ../$(BIN)/ckptsync init --kernel cartpole_ppo
	cd $(DEMO) && $(ENVIRONMENT) ../$(BIN)/ckptsync launch --quick
	cd $(DEMO) && $(ENVIRONMENT) ../$(BIN)/ckptsync launch --quick
	cd $(DEMO) && ../$(BIN)/ckptsync status

# Twice as many workers as most machines of a CI have cores: half of the time a test waits for a service or a process
test: $(READY)
	$(PYTEST) -n 4 --dist worksteal -m "not prove"

check: lint
	$(PYTEST) -n 2 --dist worksteal -m "not slow and not prove"

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

prove: $(READY)
	$(PYTEST) -m "prove" --figures

bench: $(READY)
	$(BIN)/python benchmarks/run.py

docs: $(READY)
	$(BIN)/python scripts/generate_reference.py

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ckptsync needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[train,dev]'
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info .mypy_cache .ruff_cache .hypothesis
