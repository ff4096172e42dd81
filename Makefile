# The targets that `make help` lists are supported; everything else may change.

VENV := .venv
# A virtual environment contains its path, so the one of a copied directory must not be used.
HERE := $(shell printf '%s' '$(CURDIR)' | cksum | cut -d ' ' -f 1)
RUN_READY := $(VENV)/run-$(HERE)
DEV_READY := $(VENV)/dev-$(HERE)
FUZZ_READY := $(VENV)/fuzz-$(HERE)
PLOT_READY := $(VENV)/plot-$(HERE)
RELEASE_READY := $(VENV)/release-$(HERE)
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

# Debian's own Python if it is new enough: the packages below are made for it.
PYTHON ?= $(firstword $(foreach python,/usr/bin/python3 python3,$(shell \
    $(python) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    && echo $(python))))

# Package names that all releases have: if a library's own package has its version in the name, this
# is the package for development. pyfuse3 is compiled here, and the C part of scstfs.
RUN_PACKAGES := python3-venv python3-dev gcc pkg-config libfuse3-dev fuse3 libsgutils2-dev \
    liburing-dev libaio-dev
C_PART := setup.py $(wildcard src/scstfs/aio/native/*) src/scstfs/aio/build.py
TEST_PACKAGES := libiscsi-bin qemu-utils qemu-block-extra sg3-utils tree procps iproute2
# A machine that boots from a target, and the disc that it boots.
TEST_PACKAGES += qemu-system-x86 seabios ovmf ipxe ipxe-qemu xorriso binutils
# Programs by which scripts find SCST's daemon and load its modules.
TEST_PACKAGES += psmisc kmod
# Several nodes.
TEST_PACKAGES += etcd-server etcd-client
# Shells with completion, and programs that check the manual.
TEST_PACKAGES += bash-completion zsh fish man-db mandoc jq
# What checks metrics and alert rules, and a browser for the page.
TEST_PACKAGES += prometheus chromium
MACHINE_PACKAGES := debootstrap lintian systemd-container
BENCH_PACKAGES := libiscsi-bin qemu-utils qemu-block-extra tgt

# A module's tests share its processes, so they stay together. The order is by name: many short
# modules come last, so all processes end at about the same time.
TEST_EVERYTHING := --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

VERSION = $(shell sed -n 's/^__version__.* = "\(.*\)"/\1/p' src/scstfs/__init__.py)
# Artefacts have the date of the last commit.
EPOCH = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || date +%s))

# What has anything to do with disks.
TEST_DISKS := $(addprefix tests/,daemon interop golden property conformance test_fuzz.py) \
    $(addprefix tests/unit/,aio handlers drivers)

.PHONY: help run demo test lint type docs fuzz bench clean run-packages test-packages bench-packages
.PHONY: test-engines test-cluster plot
.PHONY: dist deb release audit test-package machine-packages

.PHONY: sandbox picture

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | \
	    while IFS='|' read -r target text; do printf '  make %-14s%s\n' "$$target" "$$text"; done

run: $(RUN_READY) ## mount the tree and serve, in the foreground (options: ARGS='--log-level debug')
	@exec $(VENV)/bin/scstfs mount $(ARGS)

sandbox: $(RUN_READY) ## start a shell with its own target, without root (options: ARGS='--keep DIR')
	@exec $(VENV)/bin/scstfs sandbox $(ARGS)

demo: $(RUN_READY) test-packages ## run the README's example in a private namespace, with real clients
	@exec $(VENV)/bin/python contrib/demo.py $(ARGS)

test: lint type test-packages ## check everything (options for pytest: ARGS='-k mount')
	$(VENV)/bin/python -m pytest $(or $(ARGS),$(TEST_EVERYTHING))

test-cluster: $(DEV_READY) test-packages ## check several nodes under faults, for an hour or two (options: ARGS)
	$(VENV)/bin/python -m pytest tests/cluster -m 'full or not full' $(ARGS)

test-engines: $(DEV_READY) test-packages ## run all tests of disk I/O, once with each engine
	@for engine in io_uring libaio threads; do \
	    SCSTFS_IO_ENGINE=$$engine $(VENV)/bin/python -m pytest \
	        $(or $(ARGS),$(TEST_EVERYTHING) $(TEST_DISKS)) || exit; done

lint: $(DEV_READY) ## check style and formatting
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

type: $(DEV_READY) ## check types
	$(VENV)/bin/mypy

docs: $(RUN_READY) ## make docs/opcodes.md and docs/tree.md from the tables
	$(VENV)/bin/python -m scstfs.scsi.opcode_document >docs/opcodes.md
	$(VENV)/bin/python -m scstfs.document >docs/tree.md

picture: $(RUN_READY) test-packages ## make docs/picture.svg from a session in a sandbox
	@exec $(VENV)/bin/python contrib/picture.py $(ARGS)

fuzz: $(FUZZ_READY) ## look for input that breaks an invariant (options: ARGS='login --seconds 600')
	@exec $(VENV)/bin/python -m fuzz $(ARGS)

bench: $(DEV_READY) bench-packages ## compare with tgt (options: ARGS='--rounds 5')
	@exec $(VENV)/bin/python -m bench $(ARGS)

plot: $(PLOT_READY) ## draw curves that `make bench` measured (ARGS='FIGURES.json CURVES.svg')
	@exec $(VENV)/bin/python -m bench.plot $(ARGS)

dist: $(RELEASE_READY) ## build sdist and wheel into dist/
	@SOURCE_DATE_EPOCH=$(EPOCH) contrib/package/build-dist $(VENV)/bin/python dist

deb: dist ## build the Debian package into dist/
	@SOURCE_DATE_EPOCH=$(EPOCH) contrib/package/build-deb dist/scstfs-$(VERSION).tar.gz dist

release: $(RELEASE_READY) ## build all artefacts twice, compare, and audit the libraries
	@SOURCE_DATE_EPOCH=$(EPOCH) contrib/package/release $(VENV)/bin/python dist

audit: $(RELEASE_READY) ## look for known vulnerabilities of the libraries
	@contrib/package/audit $(VENV)/bin/python

test-package: $(DEV_READY) $(RELEASE_READY) machine-packages ## install, upgrade and remove the package in a Debian of its own
	$(VENV)/bin/python -m pytest contrib/package --timeout=1800 -o faulthandler_timeout=0 $(ARGS)

clean: ## remove the files of make and the tools
	rm -rf $(VENV) build dist src/*.egg-info src/scstfs/aio/_native*.so .coverage .coverage.* .hypothesis .import_linter_cache
	rm -rf .fuzz .mypy_cache .pytest_cache .ruff_cache
	find . -path ./.git -prune -o -name __pycache__ -exec rm -rf {} +

run-packages:
	@contrib/debian-packages scstfs $(RUN_PACKAGES)

test-packages:
	@contrib/debian-packages 'testing scstfs' $(TEST_PACKAGES)

machine-packages:
	@contrib/debian-packages 'testing the package' $(MACHINE_PACKAGES)

bench-packages:
	@contrib/debian-packages 'benchmarking scstfs' $(BENCH_PACKAGES)

$(RUN_READY): pyproject.toml constraints.txt $(C_PART) | run-packages
	@[ -n '$(PYTHON)' ] || { echo 'Python 3.11 or newer is needed' >&2; exit 1; }
	@echo 'setting up $(VENV)'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) --editable '.[metrics,cluster]'
	@touch $@

$(DEV_READY): $(RUN_READY)
	@echo 'setting up $(VENV) for tests'
	@$(PIP) --editable '.[test,lint,metrics]'
	@touch $@

$(RELEASE_READY): $(RUN_READY)
	@echo 'setting up $(VENV) for releases'
	@$(PIP) --editable '.[release]'
	@touch $@

$(PLOT_READY): $(RUN_READY)
	@echo 'setting up $(VENV) for plots'
	@$(PIP) --editable '.[bench]'
	@touch $@

$(FUZZ_READY): $(DEV_READY)
	@echo 'setting up $(VENV) for fuzzing'
	@$(PIP) --editable '.[fuzz]'
	@touch $@
