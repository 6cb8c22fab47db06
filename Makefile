# `make run` and `make test` are all that a fresh Debian 12 or 13 needs: they install what is missing.

export CARGO_TARGET_DIR := $(CURDIR)/target

KVET  := $(CARGO_TARGET_DIR)/release/kvet
GUEST := $(CARGO_TARGET_DIR)/guests
HOST_ARCH := $(patsubst aarch64,arm64,$(shell uname -m))

# Where .ci/setup had to unpack Debian's Rust (no rustup, or one that cannot fetch the arm64 standard library), the
# arm64 guest is built with that.
DEBIAN_RUST := $(CARGO_TARGET_DIR)/sysroot/rust
ARM64_SYSROOT := $(CARGO_TARGET_DIR)/sysroot/arm64

# The guest's programs are static: an initramfs has no libraries. The flags are set for these builds alone: without
# --target cargo would take them for procedural macros too.
STATIC := -C target-feature=+crt-static
GUEST_BUILD := CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS='$(STATIC)' \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS='$(STATIC)' \
    cargo build --quiet --locked --profile guest -p kvet-init -p dynptr-selftests -p kvet-faults
# Architectures with a second binary of the dynptr selftests, which tests the tests themselves
# (selftests/dynptr/docs/SELFTESTS.md). It is not installed.
CHECK_ARCHS ?= x86_64
WITH_SELFTESTS := --features dynptr-selftests/selftests
ifneq ($(HOST_ARCH),arm64)
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER := aarch64-linux-gnu-gcc
export LIBBPF_SYS_LIBRARY_PATH_aarch64_unknown_linux_gnu := $(ARM64_SYSROOT)/usr/lib/aarch64-linux-gnu
endif

.DEFAULT_GOAL := help
# Cargo uses every CPU by itself, and nothing may be built before setup is done.
.NOTPARALLEL:
.PHONY: help run test test-full bench build setup host guest lint docs install clean

help:
	@echo 'make run        install what is missing, build, run the dynptr suite on a real kernel (ARGS="-k 6.12 …")'
	@echo 'make test       the same, then format, clippy, unit, integration and VM tests'
	@echo 'make test-full  also the rare and long tests'
	@echo 'make bench      measure boot, overhead, memory, two guests at a time, builds of selftests, steps of bisect, parsing'
	@echo 'make build      target/release/kvet and the guest programs of both architectures'
	@echo 'make docs       the documentation as a book, in target/book (needs mdbook)'
	@echo 'make install    into PREFIX (default /usr/local)'

run: build
	$(KVET) run $(ARGS)

setup:
	@.ci/setup

build: setup host guest

host:
	@echo 'building kvet'
	@cargo build --quiet --locked --release -p kvet

guest: $(GUEST)/.x86_64 $(GUEST)/.arm64
	@$(GUEST)/$(HOST_ARCH)/dynptr/dynptr-selftests --list > $(GUEST)/tests.list
	@for arch in x86_64 arm64; do cmp -s $(GUEST)/tests.list $(GUEST)/$$arch/dynptr/tests.list || \
	    cp $(GUEST)/tests.list $(GUEST)/$$arch/dynptr/tests.list; done

# Cargo knows what has to be rebuilt.
.PHONY: $(GUEST)/.x86_64 $(GUEST)/.arm64
$(GUEST)/.x86_64:
	@echo 'building the guest programs for x86_64'
	@$(call check,x86_64-unknown-linux-gnu,x86_64)
	@$(GUEST_BUILD) --target x86_64-unknown-linux-gnu
	@$(call place,x86_64-unknown-linux-gnu,x86_64)

$(GUEST)/.arm64:
	@echo 'building the guest programs for arm64'
	@if [ -e $(DEBIAN_RUST)/ready ]; then export RUSTC=$(DEBIAN_RUST)/bin/rustc; fi; \
	    $(call check,aarch64-unknown-linux-gnu,arm64) && \
	    $(GUEST_BUILD) --target aarch64-unknown-linux-gnu
	@$(call place,aarch64-unknown-linux-gnu,arm64)

# Only what changed is copied, so that cached initramfs archives stay valid.
copy = { cmp -s $(CARGO_TARGET_DIR)/$(1)/guest/$(2) $(GUEST)/$(3) || \
    install -D $(CARGO_TARGET_DIR)/$(1)/guest/$(2) $(GUEST)/$(3); }

place = $(call copy,$(1),kvet-init,$(2)/init) && \
    $(call copy,$(1),dynptr-selftests,$(2)/dynptr/dynptr-selftests) && \
    $(call copy,$(1),kvet-faults,$(2)/faults/kvet-faults)

# Cargo gives both binaries of the dynptr selftests the same name: this one is copied before the other is built.
check = $(if $(filter $(2),$(CHECK_ARCHS)),$(GUEST_BUILD) --target $(1) $(WITH_SELFTESTS) && \
    $(call copy,$(1),dynptr-selftests,$(2)/dynptr-check/dynptr-selftests),:)

lint:
	cargo fmt --all --check
	cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
	cargo clippy --quiet --locked -p dynptr-selftests --all-targets --features selftests -- -D warnings

# The VM tests use the kernels in KVET_CACHE and fetch what is missing there.
test: build lint
	KVET_TEST_BIN=$(KVET) cargo test --locked --workspace $(WITH_SELFTESTS)

# Ignored, but no tests: what other tests start in a process of its own (inner_), and what makes test data anew (make_the_).
test-full: build lint
	KVET_TEST_BIN=$(KVET) cargo test --locked --workspace $(WITH_SELFTESTS) -- --include-ignored --skip inner_ --skip make_the_

bench: build
	KVET_TEST_BIN=$(KVET) cargo bench --locked -p kvet

docs:
	@command -v mdbook >/dev/null || { echo 'make docs needs mdbook: cargo install mdbook' >&2; exit 1; }
	mdbook build --dest-dir $(CARGO_TARGET_DIR)/book

PREFIX ?= /usr/local
install: build
	install -D -m 755 $(KVET) $(DESTDIR)$(PREFIX)/bin/kvet
	mkdir -p $(DESTDIR)$(PREFIX)/share/kvet/guests
	cp -r configs $(DESTDIR)$(PREFIX)/share/kvet/
	install -D -m 644 images/userland.yaml $(DESTDIR)$(PREFIX)/share/kvet/images/userland.yaml
	mkdir -p $(DESTDIR)$(PREFIX)/share/kvet/selftests/dynptr
	cp selftests/dynptr/suite.yaml $(DESTDIR)$(PREFIX)/share/kvet/selftests/dynptr/
	cp -r selftests/upstream $(DESTDIR)$(PREFIX)/share/kvet/selftests/
	cp -r $(GUEST)/x86_64 $(GUEST)/arm64 $(DESTDIR)$(PREFIX)/share/kvet/guests/
	rm -rf $(DESTDIR)$(PREFIX)/share/kvet/guests/*/faults $(DESTDIR)$(PREFIX)/share/kvet/guests/*/dynptr-check
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	$(KVET) man --into $(DESTDIR)$(PREFIX)/share/man/man1
	$(KVET) completions bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/kvet

clean:
	cargo clean
