# shellcheck shell=bash
# What the scenarios share.

STRICT=3000,4000
MERGED=3000,4000,50000
documents=/mnt/vm/docs

die() { echo "$*"; return 1; }
cri() { /mnt/vm/xtask cri-pod "$@"; }

# documented NAME: runs the commands of the documents that stand below the mark `vm: NAME`, as they are written there.
documented() {
  local commands
  commands=$(awk -v mark="<!-- vm: $1 -->" '
    $0 == mark { found = 1; next }
    found && /^```/ { if (inside) exit; inside = 1; next }
    inside' "$documents"/*.md)
  [[ -n $commands ]] || die "the documents have no commands $1"
  echo "$commands"
  bash -euo pipefail -c "$commands"
}

# within SECONDS COMMAND...: until the command succeeds.
within() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || die "not within its time: $*"
    sleep 0.3
  done
}

registered() { [[ $(systemctl show -P StatusText strict-groups) == 'registered'* ]]; }
property() { systemctl show -P "$1" strict-groups; }

# groups NAME WANTED [OPTION...]: a pod whose first process and exec have these groups.
groups() {
  local name=$1 wanted=$2 said
  shift 2
  said=$(cri run "$name" "$@" 2>&1) || die "$said"
  echo "$said"
  [[ $said == "first=$wanted exec=$wanted "* ]] || die "the groups are not $wanted"
}
strict() { groups "$1" "$STRICT" --policy Strict "${@:2}"; }
merged() { groups "$1" "$MERGED" "${@:2}"; }

# refused NAME WORDS [OPTION...]: a Strict pod that does not start, and its error has these words.
refused() {
  local said
  if said=$(cri run "$1" --policy Strict "${@:3}" 2>&1); then die "it started: $said"; fi
  echo "$said"
  [[ $said == *"$2"* ]] || die "the error does not say: $2"
}
