# Two commands do everything:  make run IDEA="…"   and   make test
PYTHON ?= python3
IDEA ?= efficient KD for small models
override IDEA := $(value IDEA)
export IDEA # the recipe's shell takes it from there, so that nothing in it is read as make or shell
ARGS ?=
BIN := .venv/bin
QUICK := tests/agent/cache tests/agent/llm tests/agent/metrics tests/agent/plan tests/agent/record tests/agent/results tests/sandbox/checks tests/test_words.py

KNOWN := IDEA ARGS DATA RUN WRITE WORN PYTHON HOME SHELL OMP_NUM_THREADS OPENAI_API_KEY XDG_CACHE_HOME KDAGENT_API_KEY \
  KDAGENT_BASE_URL KDAGENT_CACHE KDAGENT_MODEL KDAGENT_RUNS
GIVEN := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
ifneq ($(filter-out $(KNOWN),$(GIVEN)),)
  $(error unknown variable $(filter-out $(KNOWN),$(GIVEN)): known are $(KNOWN))
endif

.PHONY: install run test quick check bench bench-whole bench-precision bench-compile bench-scaling probes isolation-cost cheats effects recorded examples demo-spread mutation-test replay-test kill-test troubles archive-test clean
install: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kdagent needs Python 3.11 or later")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

run: install
	$(BIN)/kdagent run --yes $(ARGS) -- "$$IDEA"

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

quick: install # for an editor's loop: what trains nothing, starts no run and takes no seconds
	$(BIN)/python -m pytest -q -n 2 -m "not slow and not long" $(QUICK) $(ARGS)

probes: install # 48 hostile probes under each isolation level, 36 hostile workspaces; WRITE=--write puts them into docs/security.md
	$(BIN)/python -m tests.campaigns.probes $(WRITE)
	$(BIN)/python -m tests.campaigns.workspaces $(WRITE)

isolation-cost: install # what a job's start and its training cost inside; on an idle machine
	$(BIN)/python -m tests.campaigns.probes.speed $(WRITE)

cheats: install # scripted cheating authors, end to end from the command line, and honest controls (WORN=--worn: no static check)
	$(BIN)/python -m tests.campaigns.cheats $(WORN) $(WRITE)

effects: install # every method's smallest experiment beside what is expected of it; minutes
	$(BIN)/python -m tests.campaigns.effects $(WRITE)

recorded: install # every method on a real task, and published orderings; an hour and more: DATA=folder [WRITE=--write]
	$(BIN)/python -m tests.campaigns.recorded --data-dir $(DATA) $(WRITE)

examples: install # the reports in docs/examples/ from the records of their runs; WRITE=--write writes those that differ
	$(BIN)/python -m tests.campaigns.examples $(WRITE)

bench: .bench/installed # what distillation costs beside the floor and the rivals; ten idle minutes: [DATA=folder] [WRITE=--write]
	env -u OMP_NUM_THREADS GOMP_SPINCOUNT=10000 $(BIN)/python -m benchmarks $(if $(DATA),--data-dir $(DATA)) $(WRITE)

bench-whole: install # what a whole run costs beside its trainings, and a second idea beside the first; minutes
	$(BIN)/python -m benchmarks.whole $(WRITE)

bench-precision: install # whether a student learns faster in bf16, and as well; a quarter of an hour: [DATA=folder]
	env -u OMP_NUM_THREADS $(BIN)/python -m benchmarks.precision $(if $(DATA),--data-dir $(DATA)) $(WRITE)

bench-compile: install # whether torch.compile pays back within a trial; minutes
	$(BIN)/python -m benchmarks.compiled $(WRITE)

bench-scaling: install # what more rows, attempts, seeds and epochs cost, in time and memory; a quarter of an hour
	$(BIN)/python -m benchmarks.scaling $(WRITE)
	$(BIN)/python -m tests.campaigns.attempts $(WRITE)

.bench/installed: .venv/installed benchmarks/requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .bench -r benchmarks/requirements.txt
	touch $@

demo-spread: install # the demo with twenty seeds: whether an arm collapses in one; an hour where a machine has other work
	$(BIN)/python -m tests.campaigns.spread $(WRITE)

mutation-test: install # a thousand changes of one character in a record, each to be found by kdagent verify
	$(BIN)/python -m tests.campaigns.mutation $(WRITE)

replay-test: install # a demo run replayed at each level, and trained again from a second clone in another folder
	$(BIN)/python -m tests.campaigns.replay $(WRITE)

troubles: install # runs killed at random moments, and stopped, damaged and tidied in random order: ARGS="--count 300" [WRITE=--write]
	$(BIN)/python -m tests.campaigns.troubles $(ARGS) $(WRITE)

kill-test: install # a run killed at every event and inside every long step, and resumed to the same end
	$(BIN)/python -m tests.campaigns.kill $(WRITE)

archive-test: install # archives of a finished run changed by somebody hostile, imported and read by every command: RUN=folder
	$(BIN)/python -m tests.campaigns.archives $(RUN)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

clean:
	rm -rf .venv
