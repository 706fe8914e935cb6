#!/usr/bin/env bash
# Boots the virtual machine, shows the scenarios' results as they come, and exits 1 unless every one is ok. Console and
# results stay in target/vm. VM_LIMIT: seconds for all of it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

vm=target/vm
limit=${VM_LIMIT:-1500}
say() { printf 'vm: %s\n' "$*"; }
die() { printf 'vm: %s\n' "$*" >&2; exit 1; }

# One machine at a time.
mkdir -p "$vm"
exec 9>"$vm/lock"
flock 9
# The tools must not inherit the lock: who is killed would leave it to them.
vm-tests/rootfs.sh 9>&-

qemu=
# shellcheck disable=SC2317,SC2329 # called by the trap
end() {
  [[ -z $qemu ]] || { kill "$qemu" 2>/dev/null && wait "$qemu" || true; }
}
trap end EXIT
trap 'exit 130' INT TERM

rm -f "$vm/data.img"
mke2fs -q -t ext4 -O ^has_journal -d "$vm/data" "$vm/data.img" 512M

# What Debian does now and then, and the consoles, are not for here.
masked=
for unit in {apt-daily,apt-daily-upgrade,dpkg-db-backup,e2scrub_all,fstrim}.timer {getty@tty1,serial-getty@ttyS0}.service; do
  masked+=" systemd.mask=$unit"
done
# Never KVM: where /dev/kvm exists and does not work, there is no way to tell.
# QEMU 7.2 gets the flags of cmpxchg16b wrong, and the kernel dies of it: -cx16.
: >"$vm/results.txt"
TMPDIR=$PWD/$vm timeout --foreground -k 5 "$limit" qemu-system-x86_64 \
  -accel tcg,thread=multi,tb-size=1024 -cpu Nehalem,-cx16 -M q35 -smp 2 -m 2048 -nodefaults -display none -nic none \
  -kernel "$vm/vmlinuz" -append "root=/dev/nvme0n1 rootfstype=ext4 rootwait rw console=ttyS0 panic=-1 loglevel=4 \
systemd.show_status=0 mitigations=off nokaslr apparmor=1 security=apparmor$masked" \
  -drive "if=none,id=root,file=$vm/root.img,format=raw,cache=unsafe,snapshot=on" -device nvme,drive=root,serial=root \
  -drive "if=none,id=data,file=$vm/data.img,format=raw,snapshot=on" -device virtio-blk-pci,drive=data \
  -device virtio-serial-pci -chardev "file,id=out,path=$vm/results.txt" \
  -device virtserialport,chardev=out,name=vm-test \
  -device virtio-rng-pci -serial "file:$vm/console.txt" </dev/null >"$vm/qemu.log" 2>&1 9>&- &
qemu=$!
say "started; at most $limit s"
tail -n +1 --follow --pid="$qemu" "$vm/results.txt" 2>/dev/null || true
wait "$qemu" || say "QEMU ended with $?"
qemu=

# shellcheck source=vm-tests/guest/first-boot.sh
. vm-tests/guest/first-boot.sh
# shellcheck source=vm-tests/guest/second-boot.sh
. vm-tests/guest/second-boot.sh
failed=()
for name in "${FIRST_BOOT[@]}" "${SECOND_BOOT[@]}"; do
  grep -q "^ok $name " "$vm/results.txt" || failed+=("$name")
done
if ((${#failed[@]})) || [[ $(tail -n 1 "$vm/results.txt") != end ]]; then
  say 'the last of the console:' >&2
  tail -n 25 "$vm/console.txt" >&2
  cat "$vm/qemu.log" >&2
  die "failed: ${failed[*]:-the end is missing}. Everything is in $vm/console.txt and $vm/results.txt"
fi
say "all $((${#FIRST_BOOT[@]} + ${#SECOND_BOOT[@]})) scenarios are ok, in $SECONDS s"
