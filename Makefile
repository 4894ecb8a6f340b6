.DEFAULT_GOAL := help
.PHONY: help lock check test

PYTHON := .venv/bin/python
UV := .venv/bin/uv

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/installed: docker/requirements/dev.txt docker/requirements/uv.txt
	python3.12 -m venv .venv
	$(PYTHON) -m pip install -q --require-hashes -r docker/requirements/uv.txt
	$(UV) pip install -q -p $(PYTHON) --require-hashes -r docker/requirements/dev.txt
	$(UV) pip install -q -p $(PYTHON) --no-deps --offline -e .
	@touch $@

check: .venv/installed ## lint, formatting, types, shell scripts
	$(UV) run --no-sync ruff check .
	$(UV) run --no-sync ruff format --check .
	$(UV) run --no-sync mypy

test: check ## every test
	$(UV) run --no-sync pytest
