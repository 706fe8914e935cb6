#!/usr/bin/env bash
# Collects what the scenarios need inside the machine: data.sh FOLDER. Packages, images, gVisor, the client, the scenarios,
# and the documents that they take commands from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
data=$1
gvisor=$(dirname "${STRICT_GROUPS_RUNTIMES:-target/runtimes}")/go-modules/gvisor

rm -rf "$data"
mkdir -p "$data"/{packages/upgrade,images,docs,gvisor}
cp target/package/*.deb "$data/packages/"
# The same package with a higher version.
dpkg-deb -R target/package/*.deb "$data/higher"
sed -i 's/^Version: .*/&+vm1/' "$data/higher/DEBIAN/control"
dpkg-deb --root-owner-group -b "$data/higher" "$data/packages/upgrade/" >/dev/null
rm -rf "$data/higher"
cp target/debug/xtask "$data/"
"$data/xtask" cri-pod images "$data/images"
cp target/package/image.tar "$data/images/strict-groups.tar"
cp "$gvisor"/{runsc,containerd-shim-runsc-v1} "$data/gvisor/"
cp docs/{install,native-field}.md "$data/docs/"
cp -r vm-tests/guest "$data/"
