#!/usr/bin/env bash
# Writes an OCI image layout (OCI image specification 1.0) with nothing but the binary: image.sh BINARY FOLDER, and
# FOLDER.tar, the same as one file. The same binary and SOURCE_DATE_EPOCH give the same digest, which is printed.
set -euo pipefail
export LC_ALL=C TZ=UTC

binary=$1 out=$2
source=$(dirname "${BASH_SOURCE[0]}")/..
epoch=${SOURCE_DATE_EPOCH:-0}
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
version=$("$source/scripts/version.sh")
case $(uname -m) in
  x86_64) architecture=amd64 ;;
  aarch64) architecture=arm64 ;;
  *) echo "image: no name for the architecture $(uname -m)" >&2; exit 1 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/rootfs" "$work/layout/blobs/sha256"

archive() { # archive FILE FOLDER NAME...
  local file=$1 folder=$2
  shift 2
  tar --create --file "$file" --directory "$folder" --format=ustar --sort=name --mtime="@$epoch" \
    --owner=0 --group=0 --numeric-owner "$@"
}
digest() { sha256sum "$1" | cut -d' ' -f1; }
# blob FILE: moves it in, and prints its digest and size.
blob() {
  local sum
  sum=$(digest "$1")
  printf '"digest":"sha256:%s","size":%s' "$sum" "$(stat -c %s "$1")"
  mv "$1" "$work/layout/blobs/sha256/$sum"
}

install -m 0755 "$binary" "$work/rootfs/strict-groups"
archive "$work/layer.tar" "$work/rootfs" strict-groups
diff_id=$(digest "$work/layer.tar")
gzip -9n "$work/layer.tar"
layer=$(blob "$work/layer.tar.gz")

cat >"$work/config.json" <<END
{"created":"$created","architecture":"$architecture","os":"linux","config":{"User":"0:0","Entrypoint":["/strict-groups"],"Cmd":["plugin"],"Labels":{"org.opencontainers.image.title":"strict-groups","org.opencontainers.image.version":"$version","org.opencontainers.image.licenses":"Apache-2.0"}},"rootfs":{"type":"layers","diff_ids":["sha256:$diff_id"]},"history":[{"created":"$created","created_by":"strict-groups packaging/image.sh"}]}
END
config=$(blob "$work/config.json")

cat >"$work/manifest.json" <<END
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",$config},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",$layer}]}
END
manifest=$(blob "$work/manifest.json")

cat >"$work/layout/index.json" <<END
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",$manifest,"platform":{"architecture":"$architecture","os":"linux"},"annotations":{"org.opencontainers.image.ref.name":"$version"}}]}
END
printf '{"imageLayoutVersion":"1.0.0"}\n' >"$work/layout/oci-layout"

rm -rf "$out" "$out.tar"
mkdir -p "$(dirname "$out")"
archive "$out.tar" "$work/layout" blobs index.json oci-layout
cp -r "$work/layout" "$out"
printf '%s\n' "$manifest" | sed 's/^"digest":"\([^"]*\)".*/\1/'
