#!/usr/bin/env bash
# Builds the tools that make packages, below the folder that is named. Nothing to do when they are there.
set -euo pipefail
tools=$1

# They are run once: not optimised.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=0
for tool in cargo-deb@3.8.0 cargo-generate-rpm@0.21.1; do
  # cargo keeps the list of what it installed there.
  grep -qs "^\"${tool/@/ } " "$tools/.crates.toml" && continue
  printf 'packagers: building %s\n' "$tool"
  cargo install --quiet --locked --root "$tools" --target-dir "$tools/build" "$tool"
  rm -rf "$tools/build"
done
