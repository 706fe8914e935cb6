#!/usr/bin/env bash
# Makes the virtual machine's disk below target/vm: Debian 13 with its own containerd, runc, crun, AppArmor and kernel.
# A second run finds it and does nothing; remove target/vm to fetch it again.
# shellcheck disable=SC2016 # $(...) in single quotes is for apt and dpkg
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

vm=target/vm
suite=trixie
packages=systemd,systemd-sysv,udev,dbus,kmod,containerd,runc,crun,apparmor,linux-image-cloud-amd64
packages+=,iproute2,procps,busybox-static
say() { printf 'vm: %s\n' "$*"; }
die() { printf 'vm: %s\n' "$*" >&2; exit 1; }

# What goes into the disk decides whether it is still the right one.
wanted=$(cat "${BASH_SOURCE[0]}" vm-tests/guest/node.toml vm-tests/guest/vm-test.service | sha256sum)
[[ -r $vm/stamp && $(<"$vm/stamp") == "$wanted" ]] && exit 0

need=()
command -v qemu-system-x86_64 >/dev/null || need+=(qemu-system-x86)
command -v mmdebstrap >/dev/null || need+=(mmdebstrap)
command -v mke2fs >/dev/null || need+=(e2fsprogs)
if ((${#need[@]})); then
  say "installing ${need[*]}"
  { apt-get -q update && apt-get -q install -y --no-install-recommends "${need[@]}"; } >/dev/null
fi

# The mirror that this machine uses for its own suite.
# shellcheck source=/dev/null
codename=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
mirror=$(apt-get indextargets --no-release-info \
  --format '$(REPO_URI)|$(RELEASE)|$(COMPONENT)' "Created-By: Packages" |
  awk -F'|' -v suite="$codename" '$2 == suite && $3 == "main" { print $1; exit }')
[[ -n $mirror ]] || die "no apt source of this machine offers the suite $codename, component main"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

mkdir -p "$vm"
root=$vm/root
rm -rf "$root" "$vm/stamp"
trap 'rm -rf "$root"' EXIT
say "fetching Debian ($suite)"
INITRD=No mmdebstrap --quiet --variant=minbase --mode=root --include="$packages" \
  --aptopt='Acquire::Retries "3"' --aptopt='Acquire::Languages "none"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  "$suite" "$root" "deb [signed-by=$keyring] $mirror $suite main" >"$vm/mmdebstrap.log" 2>&1 ||
  { tail -n 20 "$vm/mmdebstrap.log" >&2; die 'mmdebstrap failed'; }

# RunPodSandbox copies it.
printf '127.0.0.1 localhost strict-groups-vm\n' >"$root/etc/hosts"
printf 'strict-groups-vm\n' >"$root/etc/hostname"
: >"$root/etc/machine-id"
install -m 0644 vm-tests/guest/node.toml "$root/etc/containerd/config.toml"
install -m 0644 vm-tests/guest/vm-test.service "$root/etc/systemd/system/vm-test.service"
ln -s ../vm-test.service "$root/etc/systemd/system/multi-user.target.wants/vm-test.service"
# AppArmor is on, and containerd makes its own profile. The hundred others are compiled at every boot, which takes a minute here.
find "$root/etc/apparmor.d" -maxdepth 1 -type f -delete
# The journal of the boot before is looked at as well.
mkdir -p "$root/var/log/journal"

cp "$root"/boot/vmlinuz-* "$vm/vmlinuz"
chroot "$root" dpkg-query -W -f '${Package} ${Version}\n' containerd runc crun apparmor systemd linux-image-cloud-amd64 \
  >"$vm/versions"
rm -f "$vm/root.img"
say 'making the disk'
mke2fs -q -t ext4 -O ^has_journal -d "$root" "$vm/root.img" 2G
printf '%s' "$wanted" >"$vm/stamp"
