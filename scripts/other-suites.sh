# shellcheck shell=bash
# Packages of other Debian suites, without installing anything: they are downloaded with a second apt configuration and
# unpacked into a folder. For scripts to source; each gives `die`.
# shellcheck disable=SC2016 # $(...) in single quotes is for apt

# apt options: everything of ours, nothing of the machine's, except how to
# reach the network (proxies). Only package lists are fetched, nothing for desktops.
apt_options() {
  apt=$1
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/debs"
  opts=(
    -o "Dir::Etc::sourcelist=$apt/sources.list"
    -o "Dir::Etc::sourceparts=-"
    -o "Dir::Etc::preferences=-"
    -o "Dir::Etc::preferencesparts=-"
    -o "Dir::State::Lists=$apt/lists"
    -o "Dir::Cache=$apt/cache"
    -o "Dir::Cache::pkgcache=pkgcache.bin"
    -o "Dir::Cache::srcpkgcache=srcpkgcache.bin"
    -o "APT::Sandbox::User=root"
    -o "APT::Update::Post-Invoke-Success="
    -o "APT::Default-Release="
    -o "Acquire::Languages=none"
    -o "Acquire::Retries=3"
    -o "Acquire::http::Timeout=30"
    -o "Acquire::https::Timeout=30"
    -o "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"
    -o "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false"
    -o "Acquire::IndexTargets::deb::CNF::DefaultEnabled=false"
    -q
  )
}

# Runs a command, quietly; three times if it has to be. Shows what it said when it gives up.
retry() {
  local try
  for try in 1 2 3; do
    if "$@" >"$apt/log" 2>&1; then return 0; fi
    sleep "$((try * 2))"
  done
  printf 'failed\n'
  tail -n 15 "$apt/log" >&2
  die "gave up: $1 $2"
}

# This machine's suite, such as bookworm.
own_suite() {
  local codename
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
  [[ -n $codename ]] || die "cannot tell this machine's Debian release from /etc/os-release"
  printf '%s' "$codename"
}

# open_suites FOLDER SUITE...: reads their package lists, by way of the folder. The mirror is the one that this machine
# uses for its own suite, in whatever form it is configured (one-line or deb822).
open_suites() {
  local mirror keyring suite codename
  apt_options "$1"
  shift
  codename=$(own_suite)
  mirror=$(apt-get indextargets --no-release-info \
    --format '$(REPO_URI)|$(RELEASE)|$(COMPONENT)' "Created-By: Packages" |
    awk -F'|' -v suite="$codename" '$2 == suite && $3 == "main" { print $1; exit }')
  [[ -n $mirror ]] || die "no apt source of this machine offers the suite $codename, component main"
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [[ -r $keyring ]] || die "$keyring is missing: apt-get install debian-archive-keyring"
  for suite; do
    printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite"
  done >"$apt/sources.list"
  retry apt-get "${opts[@]}" --error-on=any update
}

# package_version SUITE PACKAGE
package_version() {
  apt-cache "${opts[@]}" show "$2/$1" 2>/dev/null | sed -n 's/^Version: //p' | head -n 1
}

# unpack_package FOLDER PACKAGE VERSION
unpack_package() {
  local deb
  rm -f "$apt/debs/"*.deb
  (cd "$apt/debs" && retry apt-get "${opts[@]}" download "$2=$3")
  deb=$(find "$apt/debs" -name '*.deb' | head -n 1)
  dpkg -x "$deb" "$1"
}
