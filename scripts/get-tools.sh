#!/usr/bin/env bash
# Builds tools from crates.io: get-tools.sh FOLDER NAME@VERSION... Nothing to do for those that are in
# the folder already.
set -euo pipefail
tools=$1
shift

# They are run once: not optimised.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=0
for tool; do
  # cargo keeps the list of what it installed there.
  grep -qs "^\"${tool/@/ } " "$tools/.crates.toml" && continue
  printf 'tools: building %s\n' "$tool"
  cargo install --quiet --locked --root "$tools" --target-dir "$tools/build" "$tool"
  rm -rf "$tools/build"
done
