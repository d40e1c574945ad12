# The two commands: `make run` and `make test`. Both need Python 3.11+ and nothing else.
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Most tests wait more than they work: two processes have those in real time first, and one all else, which gives way
# (tests/conftest.py has an order of its own). With more of them, calls would not keep their time on two cores.
ALL := --numprocesses=3 --no-loadscope-reorder

.PHONY: run test check lint format types bench lock clean help
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run:  ## install what is needed, then start everything (ARGS="..." for `trunkline up`)
	@deploy/bootstrap.sh run && exec $(BIN)/trunkline up $(ARGS)

test:  ## install what is needed, then run all tests in three processes (ARGS="..." for pytest: some, in one)
	@deploy/bootstrap.sh dev && deploy/browser.sh && exec $(BIN)/python -m pytest $(or $(ARGS),$(ALL))

check: lint types test  ## the gate: lint, format, types, architecture, tests

lint:  ## ruff, and the rooms' contracts
	@deploy/bootstrap.sh dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo

format:  ## put the code in order
	@deploy/bootstrap.sh dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types:  ## mypy, strict, on everything
	@deploy/bootstrap.sh dev
	$(BIN)/mypy

bench:  ## what the speed claims rest on
	@deploy/bootstrap.sh dev && exec $(BIN)/python -m benchmarks $(ARGS)

lock:  ## the newest versions of everything, into requirements/
	@deploy/bootstrap.sh run && exec deploy/lock.sh

clean:  ## remove what can be made again
	rm -rf $(VENV) $(VENV)-lock .venv.lock .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
