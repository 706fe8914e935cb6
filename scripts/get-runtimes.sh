#!/usr/bin/env bash
# Gets real container runtimes for the tests and the demo, without installing
# anything: packages of other Debian suites are downloaded with a second apt
# configuration and unpacked below target/runtimes.
#
#   target/runtimes/containerd-1.7   containerd 1.7 (suite trixie)
#   target/runtimes/containerd-2     containerd 2.x, with native Strict (suite sid)
#   target/runtimes/debian           runc, crun, conmon, podman, busybox, CNI plugins (the machine's own suite)
#   target/runtimes/versions         what was fetched, one line each
#
# A second run finds the stamp file and does nothing. Remove target/runtimes to
# fetch again.
# shellcheck disable=SC2016 # $... in single quotes is for the wrappers
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dest=${STRICT_GROUPS_RUNTIMES:-$root/target/runtimes}
stamp=$dest/stamp
# Raise it when the layout changes, so that old downloads are replaced.
layout=5

# Older containerds answer to another configuration; newer ones keep version 3.
old_suite=trixie
new_suite=sid

say() { printf 'runtimes: %s\n' "$*"; }
die() {
  printf 'runtimes: error: %s\n' "$*" >&2
  exit 1
}

up_to_date() { [[ -r $stamp ]] && [[ $(<"$stamp") == "$layout" ]]; }

up_to_date && exit 0
# shellcheck source=scripts/other-suites.sh
. "$root/scripts/other-suites.sh"
command -v apt-get >/dev/null || die "this needs apt-get (Debian 12); put the runtimes into $dest by hand otherwise"
[[ $EUID -eq 0 ]] || die "run as root (apt-get's sandbox user cannot write here otherwise)"

mkdir -p "$dest"
exec 9>"$dest/lock"
flock -n 9 || {
  say "another run is fetching, waiting for it"
  flock 9
}
up_to_date && exit 0

# A run that was cut short left no stamp: start from nothing.
find "$dest" -mindepth 1 -maxdepth 1 ! -name lock -exec rm -rf {} +
codename=$(own_suite)
printf 'runtimes: reading package lists of %s, %s and %s ... ' "$codename" "$old_suite" "$new_suite"
apt=$dest/apt
open_suites "$apt" "$codename" "$old_suite" "$new_suite"
printf 'ok\n'

# fetch FOLDER SUITE PACKAGE...: download and unpack.
fetch() {
  local folder=$dest/$1 suite=$2 package version
  shift 2
  mkdir -p "$folder"
  for package in "$@"; do
    version=$(package_version "$suite" "$package")
    [[ -n $version ]] || die "suite $suite has no package $package"
    printf 'runtimes: fetching %s %s ... ' "$package" "$version"
    unpack_package "$folder" "$package" "$version"
    printf '%s %s %s\n' "$suite" "$package" "$version" >>"$dest/versions"
    printf 'ok\n'
  done
}

# The libraries go with the programs that need them: a fresh machine lacks some.
fetch containerd-1.7 "$old_suite" containerd
fetch containerd-2 "$new_suite" containerd
fetch debian "$codename" runc crun conmon busybox-static containernetworking-plugins libseccomp2 libyajl2
fetch debian "$codename" podman libgpgme11 libassuan0 libgpg-error0 libdevmapper1.02.1 libsubid4

# Small programs that make the unpacked ones work in place.
bin=$dest/bin
mkdir -p "$bin"
libs=$(cd "$dest" && find debian -name '*.so.*' -printf '$top/%h\n' | sort -u | paste -sd:)
# wrapper NAME PROGRAM: paths are taken from $0, so the folder may be moved.
# Lines on stdin come first.
wrapper() {
  {
    printf '#!/bin/sh\n'
    cat
    printf 'top=${0%%/*}/..\n'
    printf 'LD_LIBRARY_PATH=%s exec "$top/debian/%s" "$@"\n' "$libs" "$2"
  } >"$bin/$1"
  chmod 0755 "$bin/$1"
}
wrapper runc usr/sbin/runc </dev/null
wrapper conmon usr/bin/conmon </dev/null
wrapper podman usr/bin/podman </dev/null
# crun refuses a cgroup v2 beside v1, so there it gets a view of the mounts without it.
own_mounts=$(
  cat <<'END'
if [ -e /sys/fs/cgroup/unified/cgroup.procs ]; then
  [ -z "$IN_OWN_MOUNTS" ] || exit 1
  IN_OWN_MOUNTS=1 exec unshare --mount /bin/sh -c 'umount /sys/fs/cgroup/unified && exec "$0" "$@"' "$0" "$@"
fi
unset IN_OWN_MOUNTS
END
)
wrapper crun usr/bin/crun <<<"$own_mounts"
# crun under containerd 1.7. This old one takes no bundle that says version 1.1 of the OCI spec,
# although it knows all that is used of it.
wrapper crun-compat usr/bin/crun < <(
  printf '%s\n' "$own_mounts"
  cat <<'END'
bundle=
previous=
for argument; do
  case $previous in --bundle | -b) bundle=$argument ;; esac
  previous=$argument
done
if [ -n "$bundle" ]; then
  sed -i -e 's/"ociVersion":"1\.[1-9][^"]*"/"ociVersion":"1.0.2"/' "$bundle/config.json" || exit 1
fi
END
)

# Each must start here: a newer suite may one day need a newer C library.
for program in "$dest"/containerd-*/usr/bin/containerd "$bin/runc" "$bin/crun" "$bin/podman"; do
  "$program" --version >"$apt/log" 2>&1 || {
    cat "$apt/log" >&2
    die "$program does not run on this machine"
  }
done
# crun makes its state folder even to tell its version.
rmdir /run/crun 2>/dev/null || true
"$dest/containerd-1.7/usr/bin/containerd" --version | grep -q ' 1\.7\.' ||
  die "suite $old_suite no longer has containerd 1.7"

rm -rf "$apt"
printf '%s' "$layout" >"$stamp"
say "ready in $dest"
