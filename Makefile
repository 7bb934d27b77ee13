# The front door for a fresh machine: every target sets up what it needs (Python 3.11 or 3.12 and make suffice).
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON ?=
ROOMS := rapport_feast infra validation features training serving dags rapport
export PYTHON

company = $(if $(COMPANY),--company "$(COMPANY)")
night = $(if $(NIGHT),--night "$(NIGHT)")
pytest = .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 15

.PHONY: help setup nightly up test assure check bench rows lock clean

help: ## show this
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F'|' '{printf "  %-14s %s\n", $$1, $$2}'

setup: ## make .venv from requirements.lock (the other targets do it by themselves)
	@sh infra/deploy/setup.sh

nightly: setup ## run the nightly ring [COMPANY=companies/public] [NIGHT=YYYY-MM-DD] [ENGINE=spark]
	@$(if $(ENGINE),RAPPORT_ENGINE="$(ENGINE)") .venv/bin/rapport nightly $(company) $(night)

up: setup ## start Airflow, MLflow and the online service; Ctrl-C stops them [COMPANY=...]
	@.venv/bin/rapport up $(company)

test: setup ## run the tests, in two processes; single ones: .venv/bin/python -m pytest tests/unit/test_cli.py
	@$(pytest) -m "not assure"

assure: setup ## run the long assurance: mutants, kills, whole histories, Spark and Airflow at length
	@$(pytest) -m assure

check: setup ## format, lint, types, import rules
	@.venv/bin/ruff format --quiet --check . || { echo "make check: format with .venv/bin/ruff format ."; exit 1; }
	@.venv/bin/ruff check --quiet .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo

bench: setup ## measure beside Feast and others, into docs/performance.md [ONLY=point-in-time]
	@.venv/bin/python -m tests.load $(ONLY)

rows: setup ## which requirement is shown by which test, from the last make test and make assure
	@.venv/bin/rapport rows

lock: setup ## bring requirements.lock up to pyproject.toml
	@.venv/bin/uv pip compile pyproject.toml --group dev --generate-hashes --no-emit-index-url --universal \
	    --python-version 3.11 --quiet --output-file requirements.lock

clean: ## delete the environment, the state of every company and all caches
	@rm -rf .venv .rapport dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find $(ROOMS) tests -name __pycache__ -type d -prune -exec rm -rf {} +
