#!/usr/bin/env bash
# Checks packaging/kubernetes without a cluster: check-manifests.sh FOLDER, where the tools go.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$1/venv
wanted=scripts/manifests-requirements.txt

command -v kubectl >/dev/null || { echo "manifests: kubectl, which has kustomize, is missing" >&2; exit 1; }
if ! cmp -s "$wanted" "$venv/installed"; then
  echo "manifests: installing kubernetes-validate and helm-python-sdk"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir -r "$wanted"
  cp "$wanted" "$venv/installed"
fi
exec "$venv/bin/python" scripts/check_manifests.py
