#!/usr/bin/env bash
# Prints the target to build the static binary for: musl where the toolchain
# has it or can get it, else glibc (which the Makefile links statically).
set -euo pipefail

musl=$(uname -m)-unknown-linux-musl
gnu=$(uname -m)-unknown-linux-gnu

has() { [[ -d "$(rustc --print sysroot)/lib/rustlib/$1/lib" ]]; }

if has "$musl" || { command -v rustup >/dev/null && timeout 120 rustup target add "$musl" >/dev/null 2>&1 && has "$musl"; }; then
  printf '%s\n' "$musl"
else
  printf '%s\n' "$gnu"
fi
