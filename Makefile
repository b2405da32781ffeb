# `make demo` shows it, `make test` tests it, `make install` installs it like the packages.
# cargo and scripts/ do the work; this file has the order.

PREFIX ?= /usr
DESTDIR ?=
# `dist` is the profile of packages; `dev` takes the binaries of the tests.
PROFILE ?= dist

CARGO := cargo
TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
# The programs that sshd starts are static and at a fixed address: linking and relocation at start-up would cost 40 % and 7 %
# of their time. With --target, build scripts and macros of the same run keep their normal flags.
# In packages they are optimised for size: most of their time are page faults, not computation.
# Their bytes do not depend on the folder of the build.
CARGO_HOME ?= $(HOME)/.cargo
REMAP := --remap-path-prefix=$(CURDIR)=/usr/src/pushkeys --remap-path-prefix=$(CARGO_HOME)=/usr/src/cargo
STATIC := RUSTFLAGS="$(RUSTFLAGS) -C target-feature=+crt-static -C relocation-model=static $(REMAP)" \
	CARGO_PROFILE_DIST_LTO=fat CARGO_PROFILE_DIST_OPT_LEVEL=s \
	$(CARGO) build --locked --target $(TARGET) -p pushkeys-lookup -p pushkeys-shell --features pushkeys-lookup/plain-sha2

DYNAMIC := --bin pushkeys --bin pushkeys-server --bin pushkeys-syncd

.PHONY: help
help:
	@echo "make demo             a service, a push host and a key on this machine, until Ctrl-C (ONCE=1: exits by itself)"
	@echo "make test             all tests; as root, since they run a real sshd"
	@echo "make releases         a table of what works on which release of Debian, from tests on each"
	@echo "make lint             format, clippy, shellcheck, and the crates that sshd's programs link"
	@echo "make architecture     each crate's modules, their lines and dependencies; fails on a cycle"
	@echo "make install          DESTDIR=$(DESTDIR) PREFIX=$(PREFIX)"
	@echo "make packages         deb and rpm, in target/packages (PROFILE=dev, VERSION=0.0.1 for tests)"
	@echo "make supply-chain     licences, sources and advisories of dependencies; make sbom, make reproducible"
	@echo "make confined         a host under enforcing AppArmor, then under SELinux, in an emulator; minutes each"
	@echo "make bench-lookup     and bench-first-sync, bench-propagation, bench-login, bench-ls-remote, bench-burst, bench-api,"
	@echo "                      bench-hosts, bench-inspect"
	@echo "make chaos            SEED=1 MINUTES=5: a fleet under random faults from the seed; ARGS=--list lists all faults"
	@echo "make fuzz             FUZZ_SECONDS=60 for each parser, and for the reader against the writer"
	@echo "make clean            removes target/"

.PHONY: demo
demo:
	@scripts/setup demo
	@echo "building; the first time takes minutes"
	@$(CARGO) build --quiet --locked --bin demo $(DYNAMIC)
	@$(STATIC) --quiet
	@target/debug/demo $(if $(ONCE),--once)

.PHONY: test
test: build
	scripts/setup test
	scripts/test

# Each kind of key on each release of Debian.
.PHONY: releases
releases: build
	scripts/setup test
	rm -rf target/packages/releases
	$(CARGO) nextest run --locked -p pushkeys-tests --test packages systemd::
	@echo "| Debian | OpenSSH | key | login | push | doctor |"
	@echo "|---|---|---|---|---|---|"
	@cat target/packages/releases/*

.PHONY: build
build:
	$(CARGO) build --locked --workspace
	$(STATIC)

.PHONY: lint
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- --deny warnings
	scripts/linked-crates --check
	scripts/setup lint
	git ls-files -z .ci packaging scripts | xargs -0 awk 'FNR == 1 && /^#.*sh$$/ { print FILENAME }' | xargs shellcheck

.PHONY: architecture
architecture:
	@$(CARGO) run --quiet --locked -p pushkeys-tests --bin architecture

.PHONY: dist
dist:
	$(CARGO) build --locked --profile $(PROFILE) $(DYNAMIC)
	$(STATIC) --profile $(PROFILE)

# The contents of each package are defined here and nowhere else: packages are made from the folders that these two fill.
.PHONY: install install-host install-service
install: install-host install-service

OUT := target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
STATIC_OUT := target/$(TARGET)/$(notdir $(OUT))
ROOT = $(DESTDIR)$(PREFIX)
PROGRAM := install -D -m 0755
FILE := install -D -m 0644

install-host: dist
	$(PROGRAM) $(OUT)/pushkeys "$(ROOT)/bin/pushkeys"
	$(PROGRAM) $(OUT)/pushkeys-syncd "$(ROOT)/sbin/pushkeys-syncd"
	$(PROGRAM) packaging/pushkeys-sshd "$(ROOT)/sbin/pushkeys-sshd"
	$(PROGRAM) -t "$(ROOT)/libexec/pushkeys" $(STATIC_OUT)/pushkeys-lookup $(STATIC_OUT)/pushkeys-shell packaging/prepare-host
	$(PROGRAM) -t "$(ROOT)/libexec/pushkeys/hooks" packaging/hooks/pre-receive packaging/hooks/post-receive
	$(PROGRAM) -t "$(ROOT)/libexec/pushkeys/hooks/all" packaging/hooks/pre-receive packaging/hooks/post-receive
	for name in update post-update reference-transaction proc-receive; do \
		$(PROGRAM) packaging/hooks/own "$(ROOT)/libexec/pushkeys/hooks/all/$$name" || exit 1; done
	$(FILE) -t "$(ROOT)/share/doc/pushkeys/examples" packaging/examples/*
	$(FILE) -t "$(ROOT)/share/doc/pushkeys/metrics" packaging/metrics/alerts.yml packaging/metrics/grafana-dashboard.json
	$(FILE) -t "$(ROOT)/share/doc/pushkeys" README.md SECURITY.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE
	$(FILE) -t "$(ROOT)/share/pushkeys/sshd_config.d" packaging/sshd_config.d/50-pushkeys.conf
	$(FILE) -t "$(ROOT)/share/pushkeys/apparmor" packaging/apparmor/pushkeys
	$(FILE) -t "$(ROOT)/share/pushkeys/selinux" packaging/selinux/pushkeys.te packaging/selinux/pushkeys.fc
	$(FILE) -t "$(ROOT)/lib/systemd/system" systemd/pushkeys-syncd.service
	$(FILE) -t "$(ROOT)/lib/sysusers.d" systemd/sysusers.d/pushkeys.conf
	$(FILE) -t "$(ROOT)/lib/tmpfiles.d" systemd/tmpfiles.d/pushkeys.conf
	$(FILE) -t "$(ROOT)/share/man/man8" packaging/man/*.8
	$(OUT)/pushkeys manual "$(ROOT)"
	$(OUT)/pushkeys-syncd manual "$(ROOT)"
	scripts/page-of-configuration pushkeys-syncd.toml "where a push host's keys come from" packaging/etc/syncd.toml \
		"$(ROOT)/share/man/man5"
	scripts/page-of-configuration pushkeys-shell.toml "how a push host serves git" packaging/examples/shell.toml \
		"$(ROOT)/share/man/man5"
	[ -e "$(DESTDIR)/etc/pushkeys/syncd.toml" ] || $(FILE) packaging/etc/syncd.toml "$(DESTDIR)/etc/pushkeys/syncd.toml"

install-service: dist
	$(PROGRAM) $(OUT)/pushkeys-server "$(ROOT)/bin/pushkeys-server"
	$(PROGRAM) packaging/prepare-service "$(ROOT)/libexec/pushkeys/prepare-service"
	$(FILE) -t "$(ROOT)/share/doc/pushkeys-server" README.md SECURITY.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE
	$(FILE) -t "$(ROOT)/lib/systemd/system" systemd/pushkeys-server.service systemd/pushkeys-server.socket
	$(FILE) -t "$(ROOT)/lib/sysusers.d" systemd/sysusers.d/pushkeys-server.conf
	$(FILE) -t "$(ROOT)/lib/tmpfiles.d" systemd/tmpfiles.d/pushkeys-server.conf
	$(OUT)/pushkeys-server manual "$(ROOT)"
	scripts/page-of-configuration pushkeys-server.toml "configuration of the key service" packaging/etc/server.toml \
		"$(ROOT)/share/man/man5"
	[ -e "$(DESTDIR)/etc/pushkeys/server.toml" ] || $(FILE) packaging/etc/server.toml "$(DESTDIR)/etc/pushkeys/server.toml"

.PHONY: static
static:
	$(STATIC) --profile $(PROFILE)

.PHONY: supply-chain sbom reproducible
supply-chain sbom reproducible:
	scripts/$@

.PHONY: packages
packages:
	rm -rf target/packages/stage
	$(MAKE) PROFILE=$(PROFILE) PREFIX=/usr install-host DESTDIR=$(CURDIR)/target/packages/stage/pushkeys
	$(MAKE) PROFILE=$(PROFILE) PREFIX=/usr install-service DESTDIR=$(CURDIR)/target/packages/stage/pushkeys-server
	scripts/packages $(VERSION)

.PHONY: confined
confined:
	scripts/confined apparmor
	scripts/confined selinux

.PHONY: bench-build
bench-build:
	@$(CARGO) build --quiet --locked --release --bin bench $(DYNAMIC)
	@$(STATIC) --quiet --profile dist

.PHONY: bench-lookup bench-first-sync bench-propagation bench-login bench-ls-remote bench-burst bench-api bench-hosts bench-inspect
bench-lookup bench-first-sync bench-propagation bench-login bench-ls-remote bench-burst bench-api bench-hosts bench-inspect: bench-%: bench-build
	@scripts/setup $@
	@target/release/bench $* $(ARGS)

# The number of a failed seed repeats its run. ARGS: --plan, --list, --world, --faults NAME,NAME:VARIANT, --keep-going.
SEED ?= 1
MINUTES ?= 5
.PHONY: chaos
chaos: build
	@scripts/setup test
	@target/debug/chaos --seed $(SEED) --minutes $(MINUTES) $(ARGS)

# cargo-fuzz needs a nightly compiler only for the flags that it passes on.
FUZZ_SECONDS ?= 60
.PHONY: fuzz
fuzz:
	command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	cd tests && for target in reader writer revoked used key feed; do \
		RUSTC_BOOTSTRAP=1 cargo fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=8192 || exit 1; done

.PHONY: clean
clean:
	$(CARGO) clean
