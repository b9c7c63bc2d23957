# Every verb of the project. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
EXPERIMENT ?= experiments/starter.yaml
CLUSTER ?= cluster/laptop.yaml
PORT ?= 8501
SERVE_PORT ?= 8377
BIN := .venv/bin
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
export PYTHONUNBUFFERED := 1

.PHONY: help audit setup train-all plan results leaderboard demo-board serve dashboard cluster-up cluster-down cluster-status submit test test-slow check format bench-sandbox bench-data bench-planted bench-train bench-train-gpu bench-generate bench-generate-gpu bench-ray-overhead bench-cluster bench-statistics bench-board bench-serve faults chaos fuzz-codec starter-models lock

help:  ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: .venv/.ready  ## make .venv from requirements.lock, and get bubblewrap
	@command -v bwrap >/dev/null || ./setup.sh sandbox

.venv/.ready: requirements.lock setup.sh
	@PYTHON="$(PYTHON)" ./setup.sh environment

train-all: setup  ## train, judge and record every run of $(EXPERIMENT) that is not recorded yet
	@$(BIN)/python -m jobs run $(EXPERIMENT)

plan: setup  ## show what $(EXPERIMENT) would run and need; starts nothing
	@$(BIN)/python -m jobs plan $(EXPERIMENT)

results: setup  ## show the scores so far
	@$(BIN)/python -m jobs results

leaderboard: setup  ## open the leaderboard, its try-it box served beside it (PORT, SERVE_PORT)
	@$(BIN)/python -m leaderboard --port $(PORT) --serve-port $(SERVE_PORT)

demo-board: setup  ## import answers that others published, where they are below DATA=FOLDER or CODELADDER_DATA
	@$(if $(DATA),CODELADDER_DATA="$(abspath $(DATA))") $(BIN)/python -m jobs.imports.demo

serve: setup  ## serve bases and adapters over OpenAI's protocol (SERVE_PORT)
	@$(BIN)/python -m jobs serve --port $(SERVE_PORT)

dashboard: setup  ## say how to reach the Ray dashboard of the running experiment
	@$(BIN)/python -m cluster dashboard

cluster-up: setup  ## bring up the cluster that $(CLUSTER) declares (docs/cluster.md)
	@$(BIN)/python -m cluster up $(CLUSTER)

cluster-down: setup  ## take the cluster of $(CLUSTER) away
	@$(BIN)/python -m cluster down $(CLUSTER)

cluster-status: setup  ## say what is up of the cluster of $(CLUSTER)
	@$(BIN)/python -m cluster status $(CLUSTER)

submit: setup  ## have $(EXPERIMENT) run on the cluster of CLUSTER=, or on the one that is up
	@$(BIN)/python -m cluster submit $(if $(filter command line environment,$(origin CLUSTER)),$(CLUSTER)) $(EXPERIMENT)

check: setup  ## format, lint, types, layers, and the lock
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@! grep -nE '^torch==.*\+' requirements.lock || { echo 'requirements.lock: torch must carry no +cpu suffix'; exit 1; }

audit: setup  ## look the pinned packages up among known vulnerabilities, where the service can be reached
	@$(BIN)/python .ci/audit

test: setup  ## the tests, within 12 minutes on two cores
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu"

test-slow: setup  ## faults at every stage, repeats, real benchmarks: what needs longer
	$(BIN)/python -m pytest -m "slow and not gpu"

format: setup  ## put the code into the form that `make check` wants
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench-sandbox: setup .venv-peers/.ready  ## our judge beside its peers, in about five minutes
	@$(BIN)/python benchmarks/sandbox.py

bench-data: setup .venv-peers/.ready  ## rows made ready per second and in how much memory, beside datatrove, in twenty minutes
	@$(BIN)/python benchmarks/data.py

bench-planted: setup  ## how much of what is hidden in clean rows decontamination finds, in five minutes
	@$(BIN)/python benchmarks/planted.py

bench-train: setup .venv-peers/.ready  ## our training beside trl and transformers on one core, in about fifteen minutes
	@$(BIN)/python benchmarks/train.py

bench-train-gpu:  ## models of 7B on one GPU, beside peft and transformers; needs these and torch alone
	@$(GPU_PYTHON) benchmarks/train_gpu.py

bench-generate: setup  ## our engine beside transformers' ways to ask a model, on one core, in about fifteen minutes
	@$(BIN)/python benchmarks/generate.py

bench-generate-gpu:  ## models of 7B asked on one GPU, beside transformers' generate
	@$(GPU_PYTHON) benchmarks/generate_gpu.py

bench-ray-overhead: setup  ## what Ray adds to a step of a training, beside torchrun
	@$(BIN)/python benchmarks/ray_overhead.py

bench-cluster: setup  ## how full the scheduler keeps a cluster, and how fast the ledger takes rows, in under twenty minutes
	@$(BIN)/python benchmarks/scheduling.py
	@$(BIN)/python benchmarks/ledger.py

bench-statistics: setup  ## whether intervals hold the truth and tests find what they should, in about five minutes
	@$(BIN)/python benchmarks/intervals.py

bench-board: setup  ## how quick the board is over 5 million verdicts, in twenty minutes
	@$(BIN)/python benchmarks/board.py

bench-serve: setup  ## what it brings to write answers of several askers together, in about two minutes
	@$(BIN)/python benchmarks/serving.py

faults: setup  ## the table of docs/faults.md: each fault five times, on machines of namespaces where root runs it, in some hours
	@$(BIN)/python benchmarks/faults.py

chaos: setup  ## half an hour of random faults (MINUTES) under the starter experiment, as root; what is left must be as undisturbed
	@$(BIN)/python benchmarks/chaos.py --minutes $(or $(MINUTES),30)

fuzz-codec: .venv-peers/.ready  ## feed the judge's codec what a fuzzer finds, for ten minutes
	@PYTHONPATH=. .venv-peers/bin/python benchmarks/fuzz_codec.py -max_total_time=600

.venv-peers/.ready: benchmarks/peers.txt
	@echo "Installing the peers into .venv-peers, a minute once ..."
	@"$(PYTHON)" -m venv --clear .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/peers.txt
	@touch $@

starter-models: setup  ## build models/starter and its data again from the seed; takes an hour
	$(BIN)/python -m models.starter.recipe all

lock: setup  ## write requirements.lock from what is installed in .venv
	$(BIN)/python -m pip freeze --all --exclude-editable | grep -v '^pip==' | sed -E 's/^(torch==[0-9.]+)\+.*/\1/' > requirements.lock
