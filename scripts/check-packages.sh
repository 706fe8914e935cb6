#!/usr/bin/env bash
# Installs, upgrades, removes and purges the packages, and looks at what is left: check-packages.sh FOLDER. All of it in a
# view of this machine whose changes go away at the end (a mount namespace, an overlay in memory).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$(realpath "$1")

# Two builds of the image have one digest, each blob is what its name says, and the layer is the binary alone.
image() {
  local made=$1 blob name layers=0
  mkdir "$made"
  for name in one two; do
    packaging/image.sh "$folder/strict-groups" "$made/$name" >"$made/$name.digest"
  done
  cmp "$made/one.digest" "$made/two.digest" && cmp "$made/one.tar" "$made/two.tar" || return 1
  for blob in "$made"/one/blobs/sha256/*; do
    [[ $(sha256sum <"$blob") == "${blob##*/}  -" ]] || return 1
    tar -tzf "$blob" >"$made/names" 2>/dev/null || continue
    [[ $(<"$made/names") == strict-groups ]] || return 1
    tar -xzOf "$blob" | cmp - "$folder/strict-groups" || return 1
    layers=$((layers + 1))
  done
  [[ $layers == 1 ]] || return 1
  printf 'packages: image: two builds, one digest: %s\n' "$(<"$made/one.digest")"
}

if [[ ${IN_VIEW:-} != yes ]]; then
  made=$(mktemp -d)
  image "$made/image" || { rm -rf "$made"; echo 'packages: the image is not as it should be' >&2; exit 1; }
  rm -rf "$made"
  view=$(mktemp -d)
  trap 'rmdir "$view"' EXIT
  IN_VIEW=yes unshare --mount --propagation private "${BASH_SOURCE[0]}" "$folder" "$view"
  exit
fi

view=$2
mount -t tmpfs none "$view"
mkdir "$view"/{upper,work,root}
mount -t overlay none -o "lowerdir=/,upperdir=$view/upper,workdir=$view/work" "$view/root"
root=$view/root
for part in proc dev sys; do mount --rbind "/$part" "$root/$part"; done
mkdir "$root/packages"
cp "$folder"/*.deb "$root/packages/strict-groups.deb"
cp "$folder"/*.rpm "$root/packages/strict-groups.rpm"
within() { chroot "$root" "$@"; }
die() { printf 'packages: %s\n' "$*" >&2; exit 1; }
there() { for file; do [[ -e $root$file || -L $root$file ]] || die "there is no $file"; done; }
gone() { for file; do [[ ! -e $root$file && ! -L $root$file ]] || die "$file is left"; done; }
step() { printf 'packages: %s\n' "$1"; }
# Runs what must fail and say this.
refused() {
  local words=$1 said
  shift
  if said=$(within "$@" 2>&1); then die "$* was not refused"; fi
  [[ $said == *"$words"* ]] || die "$* does not say \"$words\": $said"
}
# The binary, as a runtime would start it.
works() {
  [[ $(within /usr/bin/strict-groups --version) == "strict-groups "* ]] || die 'the binary does not run'
  [[ $(readlink "$root/usr/bin/strict-groups-runtime") == strict-groups ]] || die 'the wrapper has no link'
}
# A plugin that runs while its package is worked on.
start_plugin() {
  # Without the function, whose shell would be what is ended, and not the plugin.
  chroot "$root" /usr/bin/strict-groups plugin --nri-socket /nonexistent/nri.sock 2>/dev/null &
  plugin=$!
  trap 'kill "$plugin" 2>/dev/null || true' EXIT
  sleep 0.5
}
stop_plugin() {
  kill -0 "$plugin" || die 'the running plugin did not survive'
  kill "$plugin"
  wait "$plugin" || true
}

config=/etc/strict-groups/config.toml
unit=/usr/lib/systemd/system/strict-groups.service
crio=/etc/crio/crio.conf.d/99-strict-groups.conf
kubelet=/var/lib/kubelet/config.yaml
export DEBIAN_FRONTEND=noninteractive

deb() {
  step 'deb: install'
  within dpkg -i /packages/strict-groups.deb >/dev/null
  works
  there "$config" "$unit" /usr/share/man/man1/strict-groups-plugin.1.gz
  there /usr/share/bash-completion/completions/strict-groups
  [[ $(within dpkg -s strict-groups) == *"$config "* ]] || die 'the configuration is no conffile'
  within /usr/bin/strict-groups config crio --help >/dev/null

  step 'deb: upgrade, with a changed configuration and a running plugin'
  printf 'default_policy = "Strict"\n' >"$root$config"
  start_plugin
  local before
  before=$(stat -c %i "$root/usr/bin/strict-groups")
  within dpkg -i --force-confdef --force-confold /packages/strict-groups.deb >/dev/null
  [[ $(stat -c %i "$root/usr/bin/strict-groups") != "$before" ]] || die 'the binary was written to, not replaced'
  stop_plugin
  works
  [[ $(<"$root$config") == 'default_policy = "Strict"' ]] || die 'the changed configuration is lost'

  step 'deb: not removed while the runtime is told to run it'
  mkdir -p "$root${crio%/*}"
  printf '[crio.runtime.runtimes.runc]\nruntime_path = "/usr/bin/strict-groups-runtime"\n' >"$root$crio"
  refused "$crio" dpkg -r strict-groups
  works
  # shellcheck disable=SC2016 # dpkg-query's own variable
  [[ $(within dpkg-query -W -f '${db:Status-Status}' strict-groups) == installed ]] || die 'it is no longer installed'
  refused "$crio" dpkg -P strict-groups
  works
  within dpkg -i --force-confdef --force-confold /packages/strict-groups.deb >/dev/null || die 'the upgrade is refused as well'
  rm "$root$crio"

  step 'deb: not removed while the kubelet is pointed at the CRI proxy'
  mkdir -p "$root${kubelet%/*}"
  printf 'containerRuntimeEndpoint: unix:///run/strict-groups-cri/cri.sock\n' >"$root$kubelet"
  refused "$kubelet" dpkg -r strict-groups
  works
  rm "$root$kubelet"

  step 'deb: remove and purge'
  printf '# runtime_path = "/usr/bin/strict-groups-runtime"\n' >"$root$crio"
  within dpkg -r strict-groups >/dev/null
  gone /usr/bin/strict-groups /usr/bin/strict-groups-runtime "$unit" /usr/lib/strict-groups
  there "$config"
  within dpkg -P strict-groups >/dev/null
  gone /etc/strict-groups

  step 'deb: removed in any case, when told to'
  within dpkg -i /packages/strict-groups.deb >/dev/null
  printf 'runtime_path = "/usr/bin/strict-groups-runtime"\n' >"$root$crio"
  within env STRICT_GROUPS_REMOVE=yes dpkg -P strict-groups >/dev/null 2>&1
  gone /usr/bin/strict-groups
  rm "$root$crio"
}

rpm() {
  step 'rpm: install'
  within rpm -i --nodeps /packages/strict-groups.rpm
  works
  there "$config" "$unit" /usr/share/man/man1/strict-groups-plugin.1 /usr/share/licenses/strict-groups/LICENSE
  [[ $(within rpm -qc strict-groups) == "$config" ]] || die 'the configuration is none for rpm'
  within rpm -V --nodeps strict-groups || die 'the files are not as packed'

  step 'rpm: upgrade, with a changed configuration and a running plugin'
  printf 'default_policy = "Strict"\n' >"$root$config"
  start_plugin
  within rpm -U --nodeps --replacepkgs /packages/strict-groups.rpm
  stop_plugin
  works
  [[ $(<"$root$config") == 'default_policy = "Strict"' ]] || die 'the changed configuration is lost'

  step 'rpm: not removed while the runtime is told to run it'
  printf '"/usr/bin/strict-groups"\n' >"$root/etc/containers/oci/hooks.d/strict-groups.json"
  refused hooks.d/strict-groups.json rpm -e strict-groups
  works
  rm "$root/etc/containers/oci/hooks.d/strict-groups.json"

  step 'rpm: remove'
  within rpm -e strict-groups
  gone /usr/bin/strict-groups /usr/bin/strict-groups-runtime "$unit" /usr/lib/strict-groups
}

deb
step 'getting rpm and lintian, for here alone'
within apt-get -q update >/dev/null
within apt-get -q install -y --no-install-recommends rpm lintian >/dev/null 2>&1
mkdir -p "$root/etc/containers/oci/hooks.d"
rpm
step 'lintian'
within lintian --no-cfg --allow-root --fail-on error --tag-display-limit 0 /packages/strict-groups.deb
