#!/usr/bin/env bash
# Checks the systemd unit without systemd running: its syntax alone and with the example drop-ins, what systemd thinks
# of its sandbox (at most 1.5), and that the sandbox lets the plugin make the system calls that it makes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v systemd-analyze >/dev/null || { apt-get -q update && apt-get -q install -y --no-install-recommends systemd; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
units=$root/etc/systemd/system
mkdir -p "$units" "$root/usr/bin" "$root/bin"
# Only looked for.
for program in usr/bin/strict-groups bin/kill bin/sh; do
  install -m 0755 /dev/null "$root/$program"
done
cp systemd/*.service systemd/*.socket "$units/"
printf '[Service]\nExecStart=/bin/sh\n' >"$units/kubelet.service"
for unit in sysinit.target basic.target shutdown.target multi-user.target -.mount system.slice tmp.mount; do
  [[ $unit == *.target ]] && printf '[Unit]\nDescription=%s\n' "$unit" >"$units/$unit"
done

# verify prints what is wrong and does not always fail.
verify() {
  local said
  said=$(systemd-analyze verify --man=no --root="$root" strict-groups.service strict-groups-cri-proxy.service kubelet.service 2>&1) || true
  [[ -z $said ]] || { printf '%s: %s\n' "$1" "$said" >&2; exit 1; }
}
exposure() {
  systemd-analyze security --offline=true --no-pager --threshold="$2" --root="$root" "${3:-strict-groups.service}" >"$root/said" ||
    { cat "$root/said" >&2; exit 1; }
  printf '%s: %s\n' "$1" "$(sed -n 's/^.*exposure level for //p' "$root/said")"
}

verify 'the unit'
exposure 'the unit' 15
exposure 'the CRI proxy' 15 strict-groups-cri-proxy.service
mkdir "$units/kubelet.service.d" "$units/strict-groups.service.d"
cp systemd/examples/kubelet-waits.conf "$units/kubelet.service.d/strict-groups.conf"
cp systemd/examples/metrics.conf systemd/examples/node-feature.conf "$units/strict-groups.service.d/"
exposure 'with metrics.conf and node-feature.conf' 15
cp systemd/examples/only-registered.conf systemd/examples/network.conf "$units/strict-groups.service.d/"
verify 'the unit with its drop-ins'
exposure 'with network.conf' 20
