# wsoak: WebSocket load and soak testing on Locust. `make` lists what there is.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(shell date -u +%Y%m%d-%H%M%S)

DEMO_USERS ?= EchoUser DialogueUser CallUser VoiceUser RoadmapUser TasksUser
DEMO_RUN ?= results/demo-$(STAMP)
DEMO_TIME ?= 60s

.DEFAULT_GOAL := help
.PHONY: help demo test ui bench matrix check clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-tests: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,bench]'
	touch $@

demo: $(VENV)/installed ## Load every system of the embedded target for a minute, judge its gates, and draw the report
	$(BIN)/locust $(DEMO_USERS) --headless --users 200 --spawn-rate 40 --run-time $(DEMO_TIME) \
		--message-rate 2 --only-summary \
		--run-dir $(DEMO_RUN) --gates gates.toml; \
	code=$$?; $(BIN)/python -m analysis report $(DEMO_RUN) && exit $$code

test: $(VENV)/installed-tests ## Run the whole test suite
	$(BIN)/python -m tests

ui: $(VENV)/installed ## Locust's web UI on the embedded target, at http://127.0.0.1:8089
	$(BIN)/locust $(DEMO_USERS) --web-host 127.0.0.1

bench: $(VENV)/installed-tests ## Measure wsoak beside the plain way, as ratios
	$(BIN)/python -m bench

matrix: $(VENV)/installed-tests ## Load every incident for real, and write docs/confusion.md
	$(BIN)/python -m bench.confusion

check: $(VENV)/installed-tests ## Lint and check types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean: ## Remove the environment and the caches; runs in results/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
