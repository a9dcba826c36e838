# `make` lists what there is. Every target sets up the environment that it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help env demo test lint lock fresh kills bench-speed bench-fit bench-scale bench-accuracy bench-few-labels \
	bench-ablations fuzz core-env test-core test-newest tools clean

# Commands of a conda environment expect CONDA_PREFIX.
IN_ENV := CONDA_PREFIX="$(CURDIR)/.venv" PATH="$(CURDIR)/.venv/bin:$$PATH"

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-16s %s\n", $$1, $$2}'

env: ## Set up .venv: the package and, where it can be had, QIIME 2 (AAM_ENV=conda|apt|plain forces how)
	@scripts/env.sh main

demo: env ## Simulate a study, pretrain, fit, predict and plot with QIIME 2; results in demo/
	@$(IN_ENV) python scripts/demo.py

# The networks of the tests are small: more threads make them slower, and each core has a worker.
test test-core test-newest: export OMP_NUM_THREADS ?= 1
ON_CORES := -n logical --dist worksteal

test: env ## Run the whole suite, both packages
	@$(IN_ENV) python -m pytest $(ON_CORES) $$(grep -q '^plain' .venv/aam-env && echo --ignore=tests/q2_aam)

tools: ## Set up .venv-tools: the tools of make lint and make lock
	@scripts/env.sh tools

lint: tools ## ruff, its format, mypy, and the direction of imports
	@.venv-tools/bin/ruff check .
	@.venv-tools/bin/ruff format --check .
	@.venv-tools/bin/mypy
	@PYTHONPATH=. .venv-tools/bin/lint-imports

lock: tools ## Renew scripts/locks with the newest versions; on Debian, those that suit its QIIME 2
	@.venv-tools/bin/python scripts/lock.py $$(scripts/env.sh distribution)

fresh: ## Test the set-up: make demo and make test in a clean clone without caches
	@scripts/fresh.sh

N ?= 50
kills: env ## Kill N fits while they train and save, and check what is left
	@$(IN_ENV) OMP_NUM_THREADS=1 python tests/kills/kills.py $(N)

bench-speed: env ## Measure the speed of pretraining and prediction
	@$(IN_ENV) python benchmarks/speed.py

bench-fit: env ## Measure what a default fit costs, by part, beside plain forests
	@$(IN_ENV) python benchmarks/fit.py

bench-scale: env ## Measure scaling over processes, memory and, on a GPU, its utilization
	@$(IN_ENV) python benchmarks/scale.py

MODE ?= quick
bench-accuracy: env ## Compare with a random forest (MODE=full: every study; MODE=corpus: others)
	@$(IN_ENV) python benchmarks/$(if $(filter corpus,$(MODE)),accuracy_corpus.py,accuracy.py --mode $(MODE))

bench-few-labels: env ## Errors with 25 to 200 labels (MODE=full: all; ENCODERS=DIR: with encoders)
	@$(IN_ENV) python benchmarks/few_labels.py --mode $(MODE) --jobs 2 $(ENCODERS:%=--encoders %)

bench-ablations: env ## Compare variants of the default (QUESTION=1 ... 5: those of one question)
	@$(IN_ENV) python benchmarks/ablations.py $(QUESTION:%=--question %)

CASES ?= 10000
SEED ?= 0
fuzz: env ## Feed damaged files to all readers (CASES=10000 SEED=0)
	@$(IN_ENV) OMP_NUM_THREADS=1 python tests/fuzz/run.py --cases $(CASES) --seed $(SEED)

core-env: ## Set up .venv-core: the core alone on the newest libraries, as locked
	@scripts/env.sh core

# What depends on Python and torch alone, which are the same there, is in `make test`.
SAME_THERE := config training/launch
test-core: core-env ## Run the core's tests on the newest numpy, pandas, scikit-bio and biom-format
	@.venv-core/bin/python -m pytest $(ON_CORES) -W default tests/aam_core $(SAME_THERE:%=--ignore=tests/aam_core/%)

test-newest: ## The same on the newest versions of today, not locked (AAM_TORCH='torch==2.13.0')
	@scripts/env.sh newest
	@.venv-newest/bin/python -m pytest $(ON_CORES) -W default tests/aam_core

clean: ## Remove build products, but not the environments
	@rm -rf build dist demo *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache docs/_build
	@find aam_core q2_aam tests -name __pycache__ -prune -exec rm -rf {} +
