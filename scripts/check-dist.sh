#!/usr/bin/env bash
# Looks at a release: check-dist.sh FOLDER. The checksums are right, nothing is missing, the tarball's binary runs, all
# forms hold the same binary, and the SBOM knows every crate that cargo links into it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dist=$1
die() { printf 'dist: %s\n' "$*" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

(cd "$dist" && sha256sum --check --quiet --strict SHA256SUMS) || die 'the checksums are wrong'
for form in '.tar.gz' '.deb' '.rpm' '-oci-image.tar' '.cdx.json'; do
  files=("$dist"/*"$form")
  [[ ${#files[@]} == 1 && -s ${files[0]} ]] || die "there is not one file *$form"
  grep -qF "  ${files[0]##*/}" "$dist/SHA256SUMS" || die "${files[0]##*/} has no checksum"
done

tar -xzf "$dist"/*.tar.gz -C "$work"
root=("$work"/strict-groups-*)
for name in strict-groups strict-groups-runtime; do
  [[ -x ${root[0]}/bin/$name ]] || die "the tarball has no bin/$name"
done
[[ $("${root[0]}/bin/strict-groups" --version) == "strict-groups "* ]] || die 'the binary does not run'
[[ -s ${root[0]}/LICENSE && -s ${root[0]}/docs/install.md && -s ${root[0]}/share/man/man1/strict-groups.1 ]] ||
  die 'the tarball has no license, documents or manual pages'
dpkg-deb --extract "$dist"/*.deb "$work/deb"
cmp "${root[0]}/bin/strict-groups" "$work/deb/usr/bin/strict-groups" || die 'package and tarball hold different binaries'

target=$(scripts/target.sh)
cargo tree --locked --package strict-groups --edges normal --prefix none --format '{p}' --target "$target" |
  awk '$1 != "strict-groups" { sub(/^v/, "", $2); print $1 "@" $2 }' | sort -u >"$work/linked"
python3 - "$dist"/*.cdx.json "$work/linked" <<'END' || die 'the SBOM is not complete'
import json, sys

sbom = json.load(open(sys.argv[1]))
assert sbom["bomFormat"] == "CycloneDX", sbom["bomFormat"]
assert sbom["metadata"]["component"]["name"] == "strict-groups"
assert "file:///" not in json.dumps(sbom), "a folder of the machine that built it"
named = {f'{part["name"]}@{part["version"]}' for part in sbom["components"]}
# Crates that only generate code while others are built are in neither.
missing = [crate for crate in open(sys.argv[2]).read().split() if crate not in named]
assert not missing, missing
print(f'dist: the SBOM names {len(named)} crates')
END
printf 'dist: %s\n' "all forms are there, with one binary and right checksums"
