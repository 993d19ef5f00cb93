# On a fresh Debian or Ubuntu with Python 3.11 or later: `make demo`, `make test`. Nothing before.

PYTHON ?= python3
JOBS ?= 2
RUN = .venv/bin/python -m
# What the tests use of the machine, as package:command. rclone comes with pip.
TEST_PARTS = btrfs-progs:mkfs.btrfs acl:setfacl attr:setfattr e2fsprogs:chattr

.PHONY: help demo test check bench clean FORCE

help:
	@echo 'make demo    push a small tree twice, restore it, break it, recover it'
	@echo 'make test    the test suite, with every real part that it needs (JOBS=2, ARGS="-k name")'
	@echo 'make check   style, types, floors'
	@echo 'make bench   compare with restic and borg (ARGS="--cases a,c --rounds 1"); takes a while'
	@echo 'make clean   remove what the others made'

demo: .venv/made
	@PATH="$(CURDIR)/.venv/bin:$$PATH" contrib/demo.sh

test: .venv/made-test parts
	@$(RUN) pytest --numprocesses $(JOBS) $(ARGS)

check: .venv/made-check
	@$(RUN) ruff check --quiet --output-format concise
	@$(RUN) ruff format --quiet --check --output-format concise
	@$(RUN) mypy --no-error-summary
	@$(RUN) pytest --quiet --no-header tests/test_layers.py

bench: .venv/made-bench
	@.venv/bin/python contrib/bench/run.py $(ARGS)

clean:
	rm -rf .venv .demo .bench .hypothesis .pytest_cache .mypy_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Not root: the missing parts are named, and only their tests are left out; in CI that is a failure.
.PHONY: parts
parts:
	@contrib/setup/debian.sh $(TEST_PARTS) || test -z "$(CI)"

# Made anew when pyproject.toml changes, when the tree was moved, and when its Python is gone.
.venv/made: pyproject.toml $(if $(and $(wildcard .venv/bin/python),$(filter $(CURDIR),$(file <.venv/where))),,FORCE)
	@echo 'Making .venv'
	@PYTHON='$(PYTHON)' contrib/setup/venv.sh
	@touch $@

.venv/made-%: .venv/made
	@$(RUN) pip install -qq --editable '.[$*]'
	@touch $@
