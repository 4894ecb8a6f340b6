.DEFAULT_GOAL := help
.PHONY: help install env digests tls up upgrade demo down logs build check fast test test-long newcomer drill docs docs-site notebook mutants statistics screenshots bench bench-stack lock update audit hooks image release-check images-publish kma-live

PYTHON := .venv/bin/python
UV := .venv/bin/uv
RUN := $(UV) run --no-sync
# PROFILE=celery adds docker/celery/compose.yaml, PROFILE="celery observability" both. Without it the variable COMPOSE_FILE
# of .env counts, if it is there.
FILES := $(if $(PROFILE),--file docker-compose.yaml $(PROFILE:%=--file docker/%/compose.yaml))
COMPOSE := docker compose $(FILES)
REQUIREMENTS := airflow mlflow serving notebook cluster dev screenshots audit chart uv
PARTS ?= fast e2e integration
REPEATS ?= 5
export GIT_COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
# The tests start many processes; without bytecode each one would compile Airflow and the libraries again.
unexport PYTHONDONTWRITEBYTECODE

help: ## show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: ## write .env with random secrets, unless it exists
	@docker/bin/env.sh

tls: ## make or renew the gateway's certificate, for TLS=on
	@docker/bin/tls.sh

digests: ## pin the images of .env by digest, where their registries are reached; again after a change of a tag
	@python3 docker/bin/digests.py

up: ## build and start the stack, wait until it is healthy, print URLs and users; PROFILE=celery, dask, hosts, observability, storage-cluster
	@if [ -e .mlops-restore ]; then echo "FAIL: the restore of a backup did not end: repeat mlops restore" >&2; exit 1; fi
	@if [ -e .mlops-upgrade ]; then echo "FAIL: an upgrade did not end: run mlops upgrade --back" >&2; exit 1; fi
	@docker/bin/checkout.sh
	@docker/bin/modes.sh
	@docker/bin/env.sh
	@PROFILE="$(PROFILE)" docker/bin/ports.sh
	$(COMPOSE) up --detach --build --wait --remove-orphans
	@docker image prune --force --filter label=org.opencontainers.image.title=mlops-loop >/dev/null
	@PROFILE="$(PROFILE)" docker/bin/urls.sh

# The checkout has the new version by then: git pull, or git checkout of a tag.
upgrade: .venv/installed ## back up, build, migrate and start the version of this checkout; or go back; WAIT=30, INTERRUPT=1
	@docker/bin/checkout.sh
	@docker/bin/modes.sh
	@docker/bin/env.sh
	@.venv/bin/mlops upgrade $(if $(WAIT),--wait $(WAIT)) $(if $(INTERRUPT),--interrupt)

demo: .venv/installed ## the same loop without Docker: train, gate, deploy, predict; EXIT=1 stops it afterwards
	.venv/bin/mlops demo $(if $(EXIT),--exit)

down: ## stop the stack; data stays in the volumes
	@docker/bin/checkout.sh
	docker compose down --remove-orphans

logs: ## follow the logs of all services
	$(COMPOSE) logs --follow --tail 50

build: ## build the three images
	docker compose build

install: .venv/installed ## create .venv with every tool, from hash-pinned requirements

.venv/installed: docker/requirements/dev.txt docker/requirements/uv.txt pyproject.toml
	@docker/bin/install.sh

check: .venv/installed ## lint, formatting, types, shell scripts, Dockerfile, workflows
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) lint-imports --no-cache --no-logo
	$(RUN) mypy
	$(RUN) shellcheck $$(git ls-files '*.sh') .ci/run
	$(RUN) hadolint Dockerfile
	$(RUN) zizmor --offline --quiet .github/workflows
	@if command -v actionlint >/dev/null; then actionlint; else echo "actionlint: not on this machine, skipped"; fi

hooks: .venv/installed ## run the commands of `make check` on the changed files before each commit
	$(RUN) prek install

fast: check ## lint, and the tests that need nothing but Python: before every commit
	$(RUN) pytest --numprocesses logical --dist loadfile tests/unit tests/repo

test: .venv/installed ## every test but the long ones; the e2e part needs a Docker engine; PARTS="fast integration"
	@$(RUN) python -m tests.run $(PARTS)

test-long: .venv/installed ## the long ones: every fault and rollout five times under load, fuzzing; REPEATS=1
	$(RUN) pytest -s -m long --repeats $(REPEATS)

newcomer: ## run `make demo` from a clean checkout in an empty container, then without a network (needs Docker)
	@docker/bin/newcomer.sh

docs-site: .venv/installed ## build the documents as a site, build/docs-site/site/index.html; needs no internet
	$(RUN) python docs/site/build.py build/docs-site

notebook: .venv/installed ## open the notebooks in JupyterLab beside the running stack; installs JupyterLab first
	@$(UV) pip install --quiet -p $(PYTHON) --no-deps --require-hashes -r docker/requirements/notebook.txt
	.venv/bin/mlops notebook

drill: .venv/installed ## restore a stack of the tests that was lost, and upgrade one, with the minutes it took (needs Docker)
	$(RUN) pytest -s -m long tests/e2e/test_backup.py tests/e2e/test_upgrade.py

mutants: .venv/installed ## break one line at a time and show which test notices; ONLY=gate for one list
	$(RUN) python -m tests.mutants $(ONLY)

statistics: .venv/installed ## simulate windows with and without drift, and print the tables of docs/figures.md
	$(RUN) python -m tests.statistics

docs: .venv/installed ## write docs/dags.md from the docstrings of the DAG files, and the schema of a dataset's TOML file
	@python3 docs/dags.py
	@.venv/bin/mlops dataset schema >docs/dataset.schema.json

screenshots: .venv/installed ## take the pictures of the README from the running stack (needs Chromium)
	@$(UV) pip install --quiet -p $(PYTHON) --no-deps --require-hashes -r docker/requirements/screenshots.txt
	$(RUN) python docs/screenshots.py

bench: .venv/installed ## measure /predict beside a hand-written server and MLflow's (needs wrk)
	$(RUN) python -m tests.benchmarks

bench-stack: .venv/installed ## measure the running stack: memory, images, latency while a training runs
	$(RUN) python -m tests.benchmarks.stack

kma-live: .venv/installed ## call the real KMA API once with the key of .env, and print the forecast
	$(RUN) python -m tests.live.kma

lock: .venv/installed ## resolve the dependencies and export the hash-pinned requirements
	$(UV) lock --quiet -p $(PYTHON)
	@for group in $(REQUIREMENTS); do \
	  $(UV) export --quiet --frozen --only-group $$group --no-emit-project --no-annotate --no-header \
	    --output-file docker/requirements/$$group.txt >/dev/null; done
	@$(PYTHON) docker/requirements/digest.py --write

update: .venv/installed ## move the date of the lock to a week ago, and resolve and export again
	@$(PYTHON) docker/bin/newer.py
	@$(MAKE) --no-print-directory lock

audit: .venv/installed ## look up every pinned package in the public advisories; needs the internet
	@$(UV) pip install --quiet -p $(PYTHON) --no-deps --require-hashes -r docker/requirements/audit.txt
	@for group in $(REQUIREMENTS); do echo "$$group"; \
	  $(RUN) pip-audit --strict --disable-pip --no-deps -r docker/requirements/$$group.txt || exit 1; done

image: ## build one image: TARGET=serving
	docker build --target $(TARGET) --tag mlops-loop/$(TARGET):dev .

release-check: ## check that the tag, the version and the changes name the same release: TAG=v0.2.0
	@python3 docker/bin/release.py $(TAG)

# The digests go to the workflow, which signs where the images came from.
images-publish: ## build and push the three images for amd64 and arm64, with SBOM: REGISTRY=ghcr.io/owner TAG=v1.2.3
	@mkdir -p build
	@for target in airflow mlflow serving; do \
	  docker buildx build --platform linux/amd64,linux/arm64 --target $$target --sbom=true --provenance=mode=max \
	    --metadata-file build/$$target.json --tag $(REGISTRY)/mlops-loop-$$target:$(TAG) --push . || exit 1; \
	  sed -n "s/.*\"containerimage.digest\": *\"\(.*\)\".*/$$target=\1/p" build/$$target.json \
	    >>$${GITHUB_OUTPUT:-/dev/stdout}; done
