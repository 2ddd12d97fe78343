# Two commands: `make run` runs the collection, `make test` its tests. Both set everything up, once.
# Options for `srm` go in ARGS: make run ARGS="21 --profile smoke"

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help run test lab lint clean

help:
	@echo "make run    run every notebook (profile cpu) and write runs/<id>/index.html"
	@echo "make test   run the whole test-suite"
	@echo "make lab    open JupyterLab on the tour"
	@echo "make lint   check style and types"
	@echo "make clean  remove the virtual environment and caches (runs/ stays)"
	@echo "Choose a Python with PYTHON=python3.12, pass options to srm with ARGS='21 --profile smoke'."

# Stamped at the very end, so that a broken set-up starts over and a finished one costs nothing.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "This needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up $(VENV) (once, a few minutes) ..."
	@$(PYTHON) -m venv --clear $(VENV) || \
	  { echo "Python could not make a virtual environment; install its venv module (on Debian: python3-venv)." >&2; exit 1; }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[domains,lab,test]' || \
	  { echo "The dependencies could not be installed; look above for the reason, then run make again." >&2; exit 1; }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[gym]' 2>/dev/null || \
	  echo "reasoning-gym could not be built (it needs a C compiler); its tasks stay out, all else works." >&2
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[kernels]' 2>/dev/null || \
	  echo "Triton could not be installed (it comes for Linux, 290 MB); the 4-bit kernels stay out, all else works." >&2
	@$(BIN)/srm models fetch smollm2 --optional
	@touch $(READY)

run: $(READY)
	@$(BIN)/srm run $(ARGS)

test: $(READY)
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

lab: $(READY)
	@$(BIN)/jupyter lab notebooks/00_tour.ipynb $(ARGS)

lint: $(READY)
	@$(BIN)/ruff check srm_utils tests
	@$(BIN)/mypy

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis build dist
	find srm_utils tests -name __pycache__ -type d -prune -exec rm -rf {} +
