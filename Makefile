# Everything a developer types. The environment is made anew when the lock or pyproject changes.
PYTHON ?= python3
BIN := .venv/bin
PARTS := test-daemon test-rest test-killed test-near test-led test-ipc

.PHONY: up test $(PARTS) check soak bench lock clean

up: .venv/.stamp
	$(BIN)/keepd -c etc/keepd.yaml up

# In parts, four of them side by side, since most tests wait more than they work; the long ones first.
NEAR := tests/cli tests/control tests/logs
KILLED := tests/daemon/killed
LED := $(addprefix $(KILLED)/test_,drill.py systemd_edges.py systemd_kills.py takeover.py upgrade.py)
PYTEST := $(BIN)/python -m pytest -m "not soak"
test: .venv/.stamp
	@echo "four parts of the tests run side by side: what they say comes when they are over"
	@$(MAKE) --no-print-directory --output-sync=target -j4 $(PARTS)

test-daemon: .venv/.stamp
	$(PYTEST) tests/daemon --ignore=$(KILLED)

test-rest: .venv/.stamp
	$(PYTEST) tests $(addprefix --ignore=,tests/daemon tests/ipc $(NEAR))

test-killed: .venv/.stamp
	$(PYTEST) $(KILLED) $(addprefix --ignore=,$(LED))

test-near: .venv/.stamp
	$(PYTEST) $(NEAR)

test-led: .venv/.stamp
	$(PYTEST) $(LED)

test-ipc: .venv/.stamp
	$(PYTEST) tests/ipc

check: .venv/.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict supervisor
	$(BIN)/python -m supervisor.config.reference --check etc/reference.yaml

soak: .venv/.stamp
	$(BIN)/python -m pytest -m soak --timeout 3600 $(ONLY)

bench: .venv/.stamp
	$(BIN)/python -m tests.bench

.venv/.stamp: requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# Only here may versions move. Everything else installs what the lock says, by hash.
lock:
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/python -m pip install --quiet pip-tools
	build/lock/bin/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras \
	  --no-annotate --no-header --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	  --extra test --build-deps-for editable --output-file build/requirements.lock pyproject.toml
	{ echo '# Made by `make lock`. Every distribution by version and sha256; installed with --require-hashes.'; \
	  grep -v '^#' build/requirements.lock; } > requirements.lock

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
