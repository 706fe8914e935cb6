#!/usr/bin/env bash
# Prints the version of this source, as Cargo.toml has it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1
