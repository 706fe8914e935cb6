#!/usr/bin/env bash
# Prints the Debian changelog of this version: where to read what changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=$(scripts/version.sh)
maintainer=$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)
date=$(LC_ALL=C date -u -R -d "@${SOURCE_DATE_EPOCH:-0}")
printf 'strict-groups (%s-1) unstable; urgency=medium\n\n  * See CHANGELOG.md in this folder.\n\n -- %s  %s\n' \
  "$version" "$maintainer" "$date"
