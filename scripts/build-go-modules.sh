#!/usr/bin/env bash
# Builds programs that no Debian package has, or not of this version, from the Go modules that tests/go-modules names:
#
#   build-go-modules.sh runc         target/go-modules/runc-VERSION/runc, one folder for each version
#   build-go-modules.sh containerd   target/go-modules/containerd-VERSION/{containerd,containerd-shim-runc-v2,ctr}
#   build-go-modules.sh gvisor       target/go-modules/gvisor/{runsc,containerd-shim-runsc-v1}
#
# go.sum says what the modules' checksums are, and `go` compares. What is built already for the same go.mod and go.sum
# is left alone, so a second run does nothing. Where the machine has no `go` that is new enough, Debian's is unpacked
# below target/go-modules. runc also needs a C compiler and libseccomp's headers: they are installed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
modules=$root/tests/go-modules
dest=$(dirname "${STRICT_GROUPS_RUNTIMES:-$root/target/runtimes}")/go-modules
# Raise it when the way of building changes.
recipe=1
# Where Go comes from if the machine has none.
go_suite=sid
go_package=golang-1.26

say() { printf 'go-modules: %s\n' "$*"; }
die() {
  printf 'go-modules: error: %s\n' "$*" >&2
  exit 1
}
# shellcheck source=scripts/other-suites.sh
. "$root/scripts/other-suites.sh"

wanted=()
for kind; do
  case $kind in
    runc | containerd) for folder in "$modules/$kind"-*; do wanted+=("${folder##*/}"); done ;;
    gvisor) wanted+=(gvisor) ;;
    *) die "not known: $kind" ;;
  esac
done
((${#wanted[@]})) || die "usage: ${0##*/} runc|containerd|gvisor..."

# fingerprint NAME: of all that decides what is built.
fingerprint() { cat "$modules/$1/go.mod" "$modules/$1/go.sum" <(printf '%s' "$recipe") | sha256sum; }

# missing: sets `names` to those of the wanted that are not there, or not from the module files as they are now.
missing() {
  local name stamp
  names=()
  for name in "${wanted[@]}"; do
    stamp=$dest/$name/stamp
    [[ -r $stamp && $(<"$stamp") == "$(fingerprint "$name")" ]] || names+=("$name")
  done
}

missing
((${#names[@]})) || exit 0
[[ $EUID -eq 0 ]] || die "run as root: packages may have to be installed"

mkdir -p "$dest"
exec 9>"$dest/lock"
flock -n 9 || {
  say "another run is building, waiting for it"
  flock 9
}
missing
((${#names[@]})) || exit 0
# What a run that was cut short has left. Programs that are started below must not inherit the lock: who outlives this
# one would keep it.
rm -rf "$dest"/new

need=()
if [[ " ${names[*]}" == *" runc-"* ]]; then
  command -v cc >/dev/null || need+=(gcc libc6-dev)
  command -v pkg-config >/dev/null || need+=(pkg-config)
  [[ -e /usr/include/seccomp.h ]] || need+=(libseccomp-dev)
fi
[[ -e /etc/ssl/certs/ca-certificates.crt ]] || need+=(ca-certificates)
if ((${#need[@]})); then
  command -v apt-get >/dev/null || die "this needs: ${need[*]}"
  say "installing ${need[*]}"
  { apt-get -q update && apt-get -q install -y --no-install-recommends "${need[@]}"; } >/dev/null 9>&-
fi

# new_enough GO: whether it is at least the one that each of the modules asks for.
new_enough() {
  local found oldest
  found=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
  oldest=$(cd "$modules" && sed -n 's/^go //p' "${names[@]/%//go.mod}" | sort -V | tail -n 1)
  [[ $(printf '%s\n' "$oldest" "${found#go}" | sort -V | head -n 1) == "$oldest" ]]
}

go=go
if ! new_enough go; then
  go=$dest/go/usr/lib/go-${go_package#golang-}/bin/go
  if ! new_enough "$go"; then
    command -v apt-get >/dev/null || die "this needs Go, or apt-get to get it"
    rm -rf "$dest/go"
    printf 'go-modules: fetching Go from Debian (%s) ... ' "$go_suite"
    open_suites "$dest/new/apt" "$go_suite" 9>&-
    for package in "$go_package-go" "$go_package-src"; do
      version=$(package_version "$go_suite" "$package")
      [[ -n $version ]] || die "suite $go_suite has no package $package"
      unpack_package "$dest/new/go" "$package" "$version" 9>&-
    done
    mv "$dest/new/go" "$dest/go"
    printf '%s\n' "$version"
    new_enough "$go" || die "$go_package of $go_suite is too old, or does not run here"
  fi
fi

# build NAME PACKAGE PROGRAM SETTING...: one program of the module into the new folder. Settings are VARIABLE=VALUE for
# the linker.
build() {
  local name=$1 package=$2 program=$dest/new/$1/$3 setting flags='-s -w'
  shift 3
  for setting; do flags+=" -X $setting"; done
  (cd "$modules/$name" && "$go" build -trimpath -buildvcs=false -tags "$tags" -ldflags "$flags" -o "$program" "$package") 9>&-
}

# The environment's own flags could change what is built, and go.mod with it.
export GOFLAGS=-mod=readonly GOWORK=off GOTOOLCHAIN=local
for name in "${names[@]}"; do
  say "building $name"
  began=$SECONDS
  case $name in
    runc-*)
      version=${name#runc-}
      # seccomp is C. runc 1.5 has its version in a file, and reads no other.
      export CGO_ENABLED=1
      tags=seccomp
      build "$name" github.com/opencontainers/runc runc "main.version=$version"
      [[ $("$dest/new/$name/runc" --version | head -n 1) == "runc version $version" ]] ||
        die "$name says another version: $("$dest/new/$name/runc" --version)"
      ;;
    containerd-*)
      # Upstream's own builds have the v, too.
      version=v${name#containerd-}
      package=github.com/containerd/containerd
      [[ $version == v1.* ]] || package+=/v2
      # C would only add the btrfs snapshotter, which no test uses.
      export CGO_ENABLED=0
      tags=
      for program in containerd containerd-shim-runc-v2 ctr; do
        build "$name" "$package/cmd/$program" "$program" "$package/version.Version=$version"
        said=$("$dest/new/$name/$program" -v)
        grep -qwF -- "$version" <<<"$said" || die "$program of $name says another version: $said"
      done
      ;;
    gvisor)
      version=$(cd "$modules/$name" && "$go" list -m -f '{{.Version}}' gvisor.dev/gvisor 9>&-)
      # They go to another machine, so nothing of this one's libraries.
      export CGO_ENABLED=0
      tags=
      build "$name" gvisor.dev/gvisor/runsc runsc "gvisor.dev/gvisor/runsc/version.version=$version"
      build "$name" gvisor.dev/gvisor/shim containerd-shim-runsc-v1
      ;;
  esac
  fingerprint "$name" >"$dest/new/$name/stamp"
  rm -rf "${dest:?}/$name"
  mv "$dest/new/$name" "$dest/$name"
  say "$name is ready, after $((SECONDS - began)) s"
done
rm -rf "$dest"/new
