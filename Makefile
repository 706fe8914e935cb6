# `make help` lists what there is. Everything is built and fetched below target/.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# One thing at a time: the steps share target/ and print their progress.
.NOTPARALLEL:

# The target is asked for only by what builds the static binary.
TARGET = $(eval TARGET := $$(shell scripts/target.sh))$(TARGET)
BIN = target/$(TARGET)/release/strict-groups

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: root runtimes build ## the KEP-3619 example pod on a real containerd 1.7, before and after
	@cargo build --quiet --package xtask
	@STRICT_GROUPS_BIN="$(CURDIR)/$(BIN)" target/debug/xtask demo

.PHONY: test
test: root runtimes go-modules build ## all tests, on real runtimes
	STRICT_GROUPS_BIN="$(CURDIR)/$(BIN)" cargo test --workspace --no-fail-fast -- --include-ignored
	@# What is only there with the feature, with a binary that has it.
	cargo test --features kubernetes-api --lib
	cargo e2e kubernetes --features kubernetes-api
	cargo e2e containerd --features kubernetes-api -- pod_spec
	@$(MAKE) --no-print-directory vm-test

.PHONY: vm-test
vm-test: vm-data ## a virtual Debian 13 machine: package, systemd, reboot, upgrade, removal
	@vm-tests/run.sh

.PHONY: vm-data
vm-data: root runtimes gvisor deb image ## what the machines of vm-tests/ need, target/vm/data
	@cargo build --quiet --package xtask
	@vm-tests/data.sh target/vm/data

.PHONY: chaos
chaos: root runtimes build ## faults: 10,000 containers (CHAOS_CONTAINERS) while all is killed
	STRICT_GROUPS_BIN="$(CURDIR)/$(BIN)" CHAOS_CONTAINERS=$${CHAOS_CONTAINERS:-10000} cargo e2e chaos -- killed

.PHONY: load
load: root runtimes build ## load: 1000 containers (LOAD_CONTAINERS), what the plugin uses
	STRICT_GROUPS_BIN="$(CURDIR)/$(BIN)" LOAD_CONTAINERS=$${LOAD_CONTAINERS:-1000} cargo e2e chaos -- load

.PHONY: bench
bench: root runtimes build ## the measurements in the documentation
	STRICT_GROUPS_BIN="$(CURDIR)/$(BIN)" cargo bench --workspace

# Packed relocations: 180 KiB less to read at every start of a container. musl's start code knows them; an older glibc's
# would crash.
LINK = $(if $(findstring musl,$(TARGET)),-C link-arg=-Wl$(comma)-z$(comma)pack-relative-relocs,-C target-feature=+crt-static)
comma := ,

# 100 KiB less, and no slower: with fat LTO, opt-level "s" still inlines what several crates call. Its own value is 50.
INLINE = -C llvm-args=-inline-threshold=25

# The folders that it was built in are not in it, so that others get the same.
REMAP = --remap-path-prefix=$(CURDIR)=/strict-groups --remap-path-prefix=$${CARGO_HOME:-$$HOME/.cargo}=/cargo

.PHONY: build
build: linker ## the static release binary
	@echo "building for $(TARGET)"
	@RUSTFLAGS="$${RUSTFLAGS:-} $(REMAP) $(LINK) $(INLINE)" \
	  cargo build --release --locked --bin strict-groups --target $(TARGET)
	@scripts/check-static.sh $(BIN)
	@ln -f $(BIN) target/strict-groups
	@ln -sf strict-groups target/strict-groups-runtime
	@echo "built target/strict-groups, $$(stat -c %s $(BIN)) bytes"

.PHONY: fuzz
fuzz: linker ## each fuzz target for a minute, or FUZZ_SECONDS
	@scripts/fuzz.sh run

.PHONY: fuzz-smoke
fuzz-smoke: linker ## each fuzz target over its corpus and for some seconds
	@scripts/fuzz.sh smoke

.PHONY: lint
lint: linker ## what has to be clean before a commit
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --workspace --all-targets --locked --features kubernetes-api -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --quiet --workspace --no-deps --locked
	@python3 scripts/check-circles.py
	@scripts/check-shell.sh $(TOOLS)

.PHONY: audit
audit: linker ## licences, bans and sources of dependencies; unused ones; spelling
	@scripts/get-tools.sh $(TOOLS) cargo-deny@0.18.5 cargo-machete@0.9.1 typos-cli@1.38.1
	@$(TOOLS)/bin/cargo-deny --locked --log-level error check --hide-inclusion-graph bans licenses sources
	@$(TOOLS)/bin/cargo-machete crates src xtask fuzz .
	@$(TOOLS)/bin/typos

.PHONY: fmt
fmt: ## format the code
	cargo fmt

include packaging/package.mk

.PHONY: clean
clean: ## remove target/, the fetched runtimes too
	rm -rf target

.PHONY: runtimes
runtimes: root
	@scripts/get-runtimes.sh

.PHONY: go-modules
go-modules: root
	@scripts/build-go-modules.sh runc containerd

.PHONY: gvisor
gvisor: root
	@scripts/build-go-modules.sh gvisor

.PHONY: root
root:
	@[[ $$EUID -eq 0 ]] || { echo "this starts real containers: run make as root" >&2; exit 1; }

# rustc needs a linker; the rest of the toolchain is expected to be there.
.PHONY: linker
linker:
	@command -v cc >/dev/null || { apt-get -q update && apt-get -q install -y --no-install-recommends gcc libc6-dev; }
