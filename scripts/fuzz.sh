#!/usr/bin/env bash
# Fuzzes every target below fuzz/ and prints what came of it.
#
#   fuzz.sh run        each target for FUZZ_SECONDS (60)
#   fuzz.sh smoke      each target over its committed corpus, then for 5 seconds
#   fuzz.sh seed       writes the first files of the corpora anew
#   fuzz.sh keep N     adds the smallest new inputs of the last runs to the corpora, up to N files each
#
# What was found stays in target/fuzz-corpus/<target>/ from run to run; a crash is kept in target/fuzz-crashes/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=$PWD/target/tools
build=target/fuzz
crashes=target/fuzz-crashes
mapfile -t targets < <(basename -s .rs fuzz/fuzz_targets/*.rs)

# What is missing on a fresh machine.
prepare() {
  command -v c++ >/dev/null || { apt-get -q update && apt-get -q install -y --no-install-recommends g++; }
  [[ -x $tools/bin/cargo-fuzz ]] || cargo install cargo-fuzz --locked --root "$tools"
  export PATH=$tools/bin:$PATH
  triple=$(rustc -vV | sed -n 's/^host: //p')

  # No address sanitizer: the few unsafe blocks own descriptors and choose an allocator. Only a sanitizer would need a
  # nightly compiler; like this, what
  # is fuzzed is compiled by what compiles the product.
  cargo fuzz build --sanitizer none --target-dir "$build"
}

# one TARGET SECONDS: a line of the table; fails when the target does.
one() {
  local target=$1 seconds=$2 found=target/fuzz-corpus/$1 log=$build/$1.log result=ok
  mkdir -p "$found" "$crashes"
  "$build/$triple/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -dict=fuzz/words.dict \
    -print_final_stats=1 -artifact_prefix="$crashes/$target-" "$found" "fuzz/corpus/$target" >"$log" 2>&1 ||
    result=FAILED
  awk -v target="$target" -v result="$result" '
    /^stat::number_of_executed_units:/ { tried = $2 }
    /^stat::new_units_added:/ { new = $2 }
    END { printf "%-14s %12d tried %8d new inputs  %s\n", target, tried, new, result }' "$log"
  if [[ $result != ok ]]; then
    grep -am 1 -A 1 'panicked at\|ERROR: libFuzzer' "$log" | sed 's/^/    /'
    sed -n 's/^.*Test unit written to /    input: /p' "$log"
    return 1
  fi
}

all() {
  local target line failed=0 table=()
  for target in "${targets[@]}"; do
    printf 'fuzzing %s for %s s\n' "$target" "$1"
    line=$(one "$target" "$1") || failed=$((failed + 1))
    printf '%s\n' "$line"
    table+=("$line")
  done
  printf '\n== %s s each\n' "$1"
  printf '%s\n' "${table[@]}"
  ((failed == 0)) || {
    printf '%s of %s targets failed; run one input again with %s/%s/release/<target> <input>\n' \
      "$failed" "${#targets[@]}" "$build" "$triple" >&2
    exit 1
  }
}

# The smallest inputs that reach what the committed ones do not, up to $1 files in all.
keep() {
  local target merged file room
  for target in "${targets[@]}"; do
    merged=$build/merged/$target
    rm -rf "$merged"
    mkdir -p "$merged" "target/fuzz-corpus/$target"
    "$build/$triple/release/$target" -merge=1 "$merged" "fuzz/corpus/$target" "target/fuzz-corpus/$target" \
      >/dev/null 2>&1
    room=$(($1 - $(find "fuzz/corpus/$target" -type f | wc -l)))
    while ((room-- > 0)) && read -r file; do
      cp -n "$file" "fuzz/corpus/$target/"
    done < <(find "$merged" -type f -size -5k -printf '%s %p\n' | sort -n | cut -d' ' -f2-)
    printf '%-14s %s files\n' "$target" "$(find "fuzz/corpus/$target" -type f | wc -l)"
  done
}

case "${1:-}" in
run)
  prepare
  all "${FUZZ_SECONDS:-60}"
  ;;
smoke)
  prepare
  all 5
  ;;
seed) cargo run --quiet --manifest-path fuzz/Cargo.toml --target-dir "$build" --example seed ;;
keep)
  prepare
  keep "${2:-60}"
  ;;
*)
  sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
  ;;
esac
