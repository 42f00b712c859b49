# Each target first brings .venv to what the lock files in requirements/ say; that costs seconds when nothing changed.
# Variables, for example `make test ARGS='-k lab -x'`:
#   ARGS    handed to pytest, or to the demo
#   JOBS    processes that share the suite's files: a number, or logical, which is one a core and 4 at most, each with up
#           to 3 GB of memory; ARGS=-n0 tests in one process, as a debugger needs
#   DUALATTN_BUILD     which kernels to compile: cuda, cpu or none, see setup.py
#   DUALATTN_NO_NVCC   1 where `make check-cuda` has no CUDA toolkit to work with
#   VENV, PYTHON, DUALATTN_WHEELS, MAX_JOBS: see requirements/install.sh

VENV ?= .venv
PYTHON ?= python3
ARGS ?=
JOBS ?= logical
# pytest-timeout cannot end what hangs outside Python or as a fixture ends; then the process goes, with a traceback
WATCH := -o faulthandler_timeout=700 -o faulthandler_exit_on_timeout=true --max-worker-restart=1
export VENV PYTHON

SETS := core colorize photos train evaluate transfer video web export dev docs
STAMPS := $(VENV)/stamps

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-long docs page light lint format check-cuda setup setup-transfer clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1@\2/p' Makefile | \
	  while IFS=@ read -r target text; do printf '  make %-16s %s\n' "$$target" "$$text"; done

demo: setup  ## train the small demo network, then colorize black-and-white photographs with it
	$(VENV)/bin/python tools/demo.py $(ARGS)

test: setup setup-transfer $(STAMPS)/export $(STAMPS)/video $(STAMPS)/web $(STAMPS)/photos $(STAMPS)/dev  ## run the whole test suite (the first time compiles mmcv: about 7 minutes)
	$(VENV)/bin/python -m pytest -n $(JOBS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(WATCH) $(ARGS)

test-long: setup setup-transfer $(STAMPS)/export $(STAMPS)/video $(STAMPS)/web $(STAMPS)/photos $(STAMPS)/dev  ## run what takes too long for every day, the commands of the documentation first
	$(VENV)/bin/python -m pytest --long -m long $(ARGS)

docs: $(STAMPS)/docs  ## build the documentation as a site, strictly, into build/site
	$(VENV)/bin/python -m mkdocs build --strict

page: docs setup $(STAMPS)/export  ## build the documentation with the page that colorizes in the browser (needs npm)
	$(VENV)/bin/python -m dualattn export page packaged -o build/site/browser --overwrite

light: setup $(STAMPS)/export  ## build the wheel of dualattn-light, which does without PyTorch, into dist
	$(VENV)/bin/python -m dualattn export photo packaged -o light/dualattn_light/model --overwrite
	$(VENV)/bin/python -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w dist ./light

lint: setup $(STAMPS)/dev  ## check the code, its formatting and its types with ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(STAMPS)/dev  ## format the code with ruff
	$(VENV)/bin/ruff format .

check-cuda: setup  ## compile and link the CUDA kernels with nvcc; needs no GPU
	$(VENV)/bin/python .ci/compile_cuda.py

setup: $(STAMPS)/evaluate $(STAMPS)/package  ## make .venv with all that colorization and its training need

setup-transfer: $(STAMPS)/transfer $(STAMPS)/package  ## add mmcv, mmdet and mmdet3d to .venv

clean:  ## delete what Python and the tools leave behind; .venv and results stay
	rm -rf build dist *.egg-info dualattn/_C*.so $(STAMPS)/package .pytest_cache .ruff_cache .mypy_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written only when its installation went through, so that an interrupted one is taken up again.
$(SETS:%=$(STAMPS)/%): $(STAMPS)/%: requirements/%.txt requirements/core.txt requirements/build.txt requirements/install.sh
	sh requirements/install.sh $*
	@mkdir -p $(STAMPS) && touch $@
$(patsubst %,$(STAMPS)/%,photos train evaluate video web export): requirements/colorize.txt
$(STAMPS)/evaluate: requirements/train.txt

# The packages are named as prerequisites because a new one has to be made known to the environment, the kernels because
# they have to be compiled again.
$(STAMPS)/package: setup.py pyproject.toml $(wildcard */__init__.py dualattn/csrc/* dualattn/csrc/*/*) \
  | $(STAMPS)/core
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@mkdir -p $(STAMPS) && touch $@
