# On a fresh Debian or Ubuntu with Python 3.11 or later: `make demo`, `make test`. Nothing before.

PYTHON ?= python3
JOBS ?= 2
RUN = .venv/bin/python -m
# What the tests use of the machine, as package:command. A new rclone comes with pip, an old one here.
TEST_PARTS = btrfs-progs:mkfs.btrfs acl:setfacl attr:setfattr e2fsprogs:chattr \
	snapper:snapper btrbk:btrbk shellcheck:shellcheck systemd:systemd-analyze \
	openssh-server:sshd rclone:/usr/bin/rclone postgresql

.PHONY: help demo test test-zfs check torture bench bench-stores bench-scale clean FORCE

help:
	@echo 'make demo    push a small tree twice, restore it, break it, recover it'
	@echo 'make test    the test suite, with every real part that it needs (JOBS=2, ARGS="-k name")'
	@echo '             N2S_TEST_CATALOGUE=postgresql: its catalogues are in PostgreSQL'
	@echo 'make test-zfs  what needs a kernel with ZFS, here or in a virtual machine (slow)'
	@echo 'make check   style, types, floors'
	@echo 'make torture  kill, break and fill it for MINUTES=5, and count what is lost (SEED=1)'
	@echo 'make bench   compare with restic and borg (ARGS="--cases a,c --rounds 1"); takes a while'
	@echo 'make bench-stores  compare with rclone copy on S3, SFTP and WebDAV (ARGS="--size 200")'
	@echo 'make bench-scale  catalogues of 20M rows, first pushes of 1M files (ARGS="--sizes 100k,1M")'
	@echo 'make clean   remove what the others made'

demo: .venv/made
	@PATH="$(CURDIR)/.venv/bin:$$PATH" contrib/demo.sh

# In a temporary folder of its own: what a killed run left (mounts, trees too deep for Python to
# remove) is in nobody's way.
test: .venv/made-test parts
	@base=$$(mktemp -d); PYTEST_DEBUG_TEMPROOT=$$base $(RUN) pytest --numprocesses $(JOBS) $(ARGS); code=$$?; \
	if test $$code -eq 0; then rm -rf --one-file-system $$base; else echo "What the tests left: $$base"; fi; exit $$code

check: .venv/made-check
	@$(RUN) ruff check --quiet --output-format concise
	@$(RUN) ruff format --quiet --check --output-format concise
	@$(RUN) mypy --no-error-summary
	@$(RUN) pytest --quiet --no-header tests/test_layers.py

# Where there is no ZFS: ZFS_VM names a program that runs a command in a machine that has it.
ZFS_VM ?= $(firstword $(wildcard ../*/tools/zfs-vm))
ZFS_TESTS = .venv/bin/python -m pytest tests/plugins/zfs/test_zfs_for_real.py tests/plugins/zfs/test_zfs_contract.py $(ARGS)
test-zfs: .venv/made-test
	@if test -e /dev/zfs; then $(ZFS_TESTS); \
	elif test -n "$(ZFS_VM)"; then $(ZFS_VM) build && $(ZFS_VM) run -C '$(CURDIR)' -v '$(CURDIR)/.venv:ro' \
	  -v "$$(.venv/bin/python -c 'import sys; print(sys.base_prefix)'):ro" -t 14400 \
	  -e N2S_TEST_SEEDS="$${N2S_TEST_SEEDS:-5}" -e N2S_TEST_CASES="$$N2S_TEST_CASES" -- $(ZFS_TESTS); \
	else echo 'There is no ZFS here. ZFS_VM=PROGRAM names one that runs a command where there is.'; exit 2; fi

# MINUTES=60 tries more, another SEED tries other things; disks are filled by root alone.
MINUTES ?= 5
SEED ?= 1
torture: .venv/made-test
	@$(RUN) tests.torture --minutes $(MINUTES) --seed $(SEED) --report docs/reliability.md $(ARGS)

bench: .venv/made-bench
	@.venv/bin/python contrib/bench/run.py $(ARGS)

bench-stores: .venv/made-test .venv/made-bench parts
	@.venv/bin/python contrib/bench/stores.py $(ARGS)

bench-scale: .venv/made-test .venv/made-bench parts
	@.venv/bin/python contrib/bench/scale.py $(ARGS)

clean:
	rm -rf .venv .demo .bench .hypothesis .pytest_cache .mypy_cache .ruff_cache build dist \
	  tests/servers/js-ipfs/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Not root: the missing parts are named, and only their tests are left out; in CI that is a failure.
.PHONY: parts
parts:
	@contrib/setup/debian.sh $(TEST_PARTS) || test -z "$(CI)"
	@contrib/setup/ipfs.sh || test -z "$(CI)"

# Made anew when pyproject.toml changes, when the tree was moved, and when its Python is gone.
.venv/made: pyproject.toml $(if $(and $(wildcard .venv/bin/python),$(filter $(CURDIR),$(file <.venv/where))),,FORCE)
	@echo 'Making .venv'
	@PYTHON='$(PYTHON)' contrib/setup/venv.sh
	@touch $@

.venv/made-%: .venv/made
	@$(RUN) pip install -qq --editable '.[$*]'
	@touch $@
