#!/usr/bin/env bash
# Collects a release: dist.sh PACKAGES FOLDER. The packages, the image and the SBOM as they are in PACKAGES, a tarball of
# what a package installs for those who install by hand, and SHA256SUMS over all of it. The same source and
# toolchain give the same tarball.
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/.."
packages=$1 dist=$2
epoch=${SOURCE_DATE_EPOCH:-0}
version=$(scripts/version.sh)
machine=$(uname -m)
name=strict-groups-$version-$machine-linux

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/$name

# put MODE FOLDER FILE...
put() {
  local mode=$1 folder=$root/$2
  shift 2
  mkdir -p "$folder"
  install -m "$mode" "$@" "$folder/"
}
put 0755 bin "$packages/strict-groups"
ln -s strict-groups "$root/bin/strict-groups-runtime"
put 0644 etc/strict-groups packaging/config.toml
put 0644 lib/systemd/system systemd/*.service systemd/*.socket
put 0644 lib/systemd/examples systemd/examples/*.conf
put 0644 share/man/man1 "$packages"/man/*.1
put 0644 share/man/man5 packaging/man/*.5
put 0644 share/completions "$packages"/completions/*
put 0644 share/monitoring packaging/monitoring/*
put 0644 docs docs/*.md docs/*.json
put 0644 docs/adr docs/adr/*.md
put 0644 . README.md SECURITY.md CHANGELOG.md LICENSE

rm -rf "$dist"
mkdir -p "$dist"
tar --create --directory "$work" --format=ustar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner "$name" |
  gzip -9n >"$dist/$name.tar.gz"
cp "$packages"/*.deb "$packages"/*.rpm "$dist/"
cp "$packages/image.tar" "$dist/$name-oci-image.tar"
cp "$packages/sbom.cdx.json" "$dist/$name.cdx.json"
(cd "$dist" && sha256sum -- * >"$work/SHA256SUMS")
mv "$work/SHA256SUMS" "$dist/"
ls -l "$dist"
