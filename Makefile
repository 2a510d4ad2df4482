# Two commands to begin with:  make demo   and   make test
# The first call makes .venv (the demo without torch, the tests with it); later calls start at once.
# An environment of your own:  make test VENV=/path/to/venv SETUP=

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
RUNS = $(VENV)/.robot-wm-runs
READY = $(VENV)/.robot-wm-ready
SETUP ?= $(READY)
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517
TORCH ?= torch==2.13.0
# Where pip looks for torch, e.g. a CPU-only index; empty asks the usual one.
TORCH_INDEX ?=
# Options of the demonstration, e.g. DEMO=demo.pairs=100.
DEMO ?=
# What `make browser` shows, and where its page and npm's packages live.
TASK ?= two_room
PAGE = export/browser

.DEFAULT_GOAL := help
.PHONY: help setup demo browser test test-all smoke lint results bench doctor clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(if $(SETUP),$(RUNS))  ## shipped planners against random actions, task by task (offline)
	@$(BIN)/robot-wm demo $(DEMO)

browser: $(if $(SETUP),$(RUNS)) $(PAGE)/node_modules  ## planner and scene as a web page (needs npm; TASK=reacher for another)
	@$(BIN)/robot-wm web-demo task=$(TASK)

$(PAGE)/node_modules: $(PAGE)/package-lock.json
	@npm ci --silent --no-audit --no-fund --ignore-scripts --prefix $(PAGE)
	@touch $@

test: $(SETUP)  ## every test but the slow ones (minutes)
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-all: $(SETUP)  ## the slow ones too
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-2} $(BIN)/python -m pytest -m "not gpu and not network"

smoke: $(SETUP)  ## the whole chain, tiny, every command once, and 2,000 bad inputs (minutes)
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest tests/test_pipeline.py tests/robustness/test_fuzz.py -m slow

lint: $(SETUP)  ## style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

results: $(SETUP)  ## regenerate docs/{results,ami,claims}.md from results/
	@$(BIN)/robot-wm results

bench: $(SETUP)  ## measure rendering, encoding and planning on this machine
	@$(BIN)/robot-wm benchmark

doctor: $(if $(SETUP),$(RUNS))  ## check this machine
	@$(BIN)/robot-wm doctor

setup: $(SETUP)  ## make the environment (the other verbs do it themselves)

$(RUNS): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name it with  make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the scenes and the runtime into $(VENV) (once)"
	@$(PIP) -e '.[robot,sim,arms,cli]'
	@$(BIN)/python -m robot_wm.commands.doctor --renderer >/dev/null 2>&1 || $(MAKE) --no-print-directory opengl
	@touch $@

$(READY): $(RUNS)
	@echo "installing what training, export and tests need (once)"
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	@$(PIP) -e '.[robot,sim,arms,cli,train,rivals,language,export,dev]'
	@touch $@

.PHONY: opengl
# Software OpenGL is the one thing pip cannot bring. A failure here is told, not fatal.
opengl:
	@packages="libegl1 libgl1-mesa-dri libosmesa6"; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing $$packages"; \
	  { apt-get install -y -qq $$packages || { apt-get update -qq && apt-get install -y -qq $$packages; }; } \
	    >/dev/null 2>&1 || echo "could not install $$packages; run robot-wm doctor"; \
	else echo "no OpenGL found: install  $$packages  (or your system's EGL), then robot-wm doctor"; fi

clean:  ## remove caches and the environment (data in ROBOT_WM_HOME stays)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
