#!/usr/bin/env bash
# check-static.sh FILE: fails unless FILE is an ELF program that needs no
# dynamic loader, so that it runs on a node with any C library, or none.
set -euo pipefail

file=${1:?usage: check-static.sh FILE}

# number OFFSET BYTES: a little-endian number of the file.
number() { od -An -v "-tu$2" -j "$1" -N "$2" "$file" | tr -d ' \n'; }

[[ $(od -An -tx1 -N 6 "$file" | tr -d ' \n') == 7f454c460201 ]] || {
  printf '%s is no 64-bit little-endian ELF file\n' "$file" >&2
  exit 1
}

# ELF header: program headers start at e_phoff, e_phnum of e_phentsize bytes each.
start=$(number 32 8)
size=$(number 54 2)
count=$(number 56 2)
for ((i = 0; i < count; i++)); do
  # PT_INTERP, the loader's path, is type 3.
  if [[ $(number $((start + i * size)) 4) == 3 ]]; then
    printf '%s needs a dynamic loader: it is not static\n' "$file" >&2
    exit 1
  fi
done
