#!/usr/bin/env bash
# Builds tools that packages are made with: get-packagers.sh FOLDER NAME@VERSION... Nothing to do for those that are in
# the folder already.
set -euo pipefail
tools=$1
shift

# They are run once: not optimised.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=0
for tool; do
  # cargo keeps the list of what it installed there.
  grep -qs "^\"${tool/@/ } " "$tools/.crates.toml" && continue
  printf 'packagers: building %s\n' "$tool"
  cargo install --quiet --locked --root "$tools" --target-dir "$tools/build" "$tool"
  rm -rf "$tools/build"
done
