# The two commands a newcomer needs: `make demo` and `make test`. Both install what is missing first.
SHELL := /bin/bash
export PYTHON ?= python3
export PATH := $(PATH):/usr/sbin:/sbin
BIN := .venv/bin

.PHONY: setup demo test check bench clean root

setup:
	@bash setup.sh

root:
	@[ "$$(id -u)" -eq 0 ] || { echo "the lab makes network namespaces, which needs root: sudo make $(MAKECMDGOALS)" >&2; exit 1; }

demo: | root setup
	@$(BIN)/python examples/demo.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test: check
	@bash setup.sh tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

bench: | root setup
	$(BIN)/python bench/lab.py
	$(BIN)/python bench/api.py
	$(BIN)/python bench/store.py
	$(BIN)/python bench/nftables.py
	$(BIN)/python bench/proxy.py
	$(BIN)/python bench/trace.py
	$(BIN)/python bench/failover.py

clean:
	rm -rf .venv build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
