#!/bin/bash
# Runs the scenarios inside the virtual machine: those of the first boot, a reboot, those of the second. Each result is
# one line through the virtio-serial port, and `end` the last one.
set -uo pipefail
here=/mnt/vm/guest
state=/var/lib/vm-test
mkdir -p "$state"
# Elsewhere than in QEMU both are given: where results go, and that somebody else reboots and switches off.
port=${VM_PORT:-/dev/virtio-ports/vm-test}
power() { [[ -n ${VM_PORT:-} ]] || systemctl "$@"; }
tell() { printf '%s\n' "$*" >"$port"; }
# shellcheck source=vm-tests/guest/lib.sh
. "$here/lib.sh"
# shellcheck source=vm-tests/guest/first-boot.sh
. "$here/first-boot.sh"
# shellcheck source=vm-tests/guest/second-boot.sh
. "$here/second-boot.sh"

# scenario NAME: runs the function of this name; what it printed is told when it fails.
scenario() {
  local log=$state/$1.log began=$SECONDS result
  tell "# $1"
  # Not as a condition: there bash would go on after a command that failed.
  (
    set -eEu
    trap 'echo "failed: $BASH_COMMAND (${BASH_SOURCE[0]##*/}:$LINENO)"' ERR
    "$1"
  ) >"$log" 2>&1
  result=$?
  if ((result == 0)); then
    grep '^figure: ' "$log" | while read -r line; do tell "# $1: $line"; done
    tell "ok $1 $((SECONDS - began))s"
    return
  fi
  tell "not ok $1 $((SECONDS - began))s"
  {
    tail -n 25 "$log"
    journalctl --boot --no-pager --lines 60 --unit strict-groups --unit containerd --output cat
  } | cut -c 1-900 | sed 's/^/#   /' >"$port"
}

finish() {
  tell "# $(uptime)"
  tell end
  sync
  power poweroff --force
}

case $(cat "$state/stage" 2>/dev/null) in
  '')
    echo first >"$state/stage"
    tell "# kernel $(uname -r), $(systemd-detect-virt || true), cgroup $(stat -fc %T /sys/fs/cgroup), up $(cut -d' ' -f1 /proc/uptime) s"
    for name in "${FIRST_BOOT[@]}"; do scenario "$name"; done
    echo second >"$state/stage"
    sync
    power reboot
    ;;
  second)
    echo over >"$state/stage"
    tell "# booted again, up $(cut -d' ' -f1 /proc/uptime) s"
    for name in "${SECOND_BOOT[@]}"; do scenario "$name"; done
    finish
    ;;
  *)
    tell 'not ok boot: the machine started once more than it should have'
    finish
    ;;
esac
