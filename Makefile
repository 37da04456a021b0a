# Everything a developer types. The environment is made anew when the lock or pyproject changes.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: up test check soak bench lock clean

up: .venv/.stamp
	$(BIN)/keepd -c etc/keepd.yaml up

test: .venv/.stamp
	$(BIN)/python -m pytest -m "not soak"

check: .venv/.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict supervisor
	$(BIN)/python -m supervisor.config.reference --check etc/reference.yaml

soak: .venv/.stamp
	$(BIN)/python -m pytest -m soak --timeout 3600

bench: .venv/.stamp
	$(BIN)/python -m tests.bench

.venv/.stamp: requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
