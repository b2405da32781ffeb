# `make demo` shows it, `make test` proves it, `make install` puts it where packages put it.
# The work is done by cargo and by scripts/: this file only knows the order.

PREFIX ?= /usr
DESTDIR ?=

CARGO := cargo
TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
# What sshd starts is static and at a fixed address: linking and relocating at start-up would cost it 40 % and 7 %
# of its time. With --target, build scripts and macros of the same run keep their normal flags.
# Shipped, it is small rather than fast: its time goes into the pages that it touches, not into what it computes.
STATIC := RUSTFLAGS="$(RUSTFLAGS) -C target-feature=+crt-static -C relocation-model=static" \
	CARGO_PROFILE_DIST_LTO=fat CARGO_PROFILE_DIST_OPT_LEVEL=s \
	$(CARGO) build --locked --target $(TARGET) -p pushkeys-lookup -p pushkeys-shell --features pushkeys-lookup/plain-sha2

DYNAMIC := --bin pushkeys --bin pushkeys-server --bin pushkeys-syncd

.PHONY: help
help:
	@echo "make demo             a key's whole way, on this machine, until Ctrl-C (ONCE=1: ends by itself)"
	@echo "make test             every test; as root, since real sshd takes part"
	@echo "make lint             format, clippy, and the list of what sshd starts is linked from"
	@echo "make install          DESTDIR=$(DESTDIR) PREFIX=$(PREFIX)"
	@echo "make bench-lookup     and bench-first-sync, bench-propagation, bench-login, bench-ls-remote, bench-burst"
	@echo "make fuzz             FUZZ_SECONDS=60 for each of the parsers, and for reader against writer"
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

.PHONY: build
build:
	$(CARGO) build --locked --workspace
	$(STATIC)

.PHONY: lint
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- --deny warnings
	scripts/linked-crates --check

.PHONY: dist
dist:
	$(CARGO) build --locked --profile dist $(DYNAMIC)
	$(STATIC) --profile dist

.PHONY: install
install: dist
	install -D -m 0755 target/dist/pushkeys "$(DESTDIR)$(PREFIX)/bin/pushkeys"
	install -D -m 0755 target/dist/pushkeys-server "$(DESTDIR)$(PREFIX)/bin/pushkeys-server"
	install -D -m 0755 target/dist/pushkeys-syncd "$(DESTDIR)$(PREFIX)/sbin/pushkeys-syncd"
	for program in pushkeys-lookup pushkeys-shell; do install -D -m 0755 \
		target/$(TARGET)/dist/$$program "$(DESTDIR)$(PREFIX)/libexec/pushkeys/$$program" || exit 1; done
	install -D -m 0755 packaging/hooks/post-receive "$(DESTDIR)$(PREFIX)/libexec/pushkeys/hooks/post-receive"
	for example in packaging/examples/*; do install -D -m 0644 \
		$$example "$(DESTDIR)$(PREFIX)/share/doc/pushkeys/examples/$${example##*/}" || exit 1; done

.PHONY: bench-build
bench-build:
	@$(CARGO) build --quiet --locked --release --bin bench $(DYNAMIC)
	@$(STATIC) --quiet --profile dist

.PHONY: bench-lookup bench-first-sync bench-propagation bench-login bench-ls-remote bench-burst
bench-lookup bench-first-sync bench-propagation bench-login bench-ls-remote bench-burst: bench-%: bench-build
	@scripts/setup $@
	@target/release/bench $* $(ARGS)

# cargo-fuzz asks for a nightly compiler only because of the flags that it passes on.
FUZZ_SECONDS ?= 60
.PHONY: fuzz
fuzz:
	command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	cd tests && for target in reader writer key feed; do \
		RUSTC_BOOTSTRAP=1 cargo fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=8192 || exit 1; done

.PHONY: clean
clean:
	$(CARGO) clean
