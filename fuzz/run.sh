#!/usr/bin/env bash
# Fuzzes each target named (lines, frames, recovery; all if none is), for SECONDS_EACH seconds one after the other, under
# AddressSanitizer. Needs a nightly toolchain and a C++ compiler. What breaks a target is left in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")"

[ $# -gt 0 ] || set -- lines frames recovery
nightly=${NIGHTLY:-nightly}
host=$(rustc -vV | sed -n 's/^host: //p')
coverage=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4)
coverage+=(-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table)
coverage+=(-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1)
export RUSTFLAGS="${coverage[*]} -Zsanitizer=address -Coverflow-checks=on -Cdebug-assertions=on"
cargo "+$nightly" build --release --target "$host"

mkdir -p artifacts
for target in "$@"; do
  mkdir -p "corpus/$target"
  options=(-max_total_time="${SECONDS_EACH:-600}" -artifact_prefix="artifacts/$target-" -print_final_stats=1)
  # Our own golden files and the public suite of JSON are where lines begin.
  case $target in
    lines) options+=(-max_len=4096 -dict=lines.dict ../tests/golden ../tests/corpora/JSONTestSuite/test_parsing) ;;
    frames) options+=(-max_len=2048) ;;
    recovery) options+=(-max_len=1024) ;;
  esac
  "target/$host/release/$target" "corpus/$target" "../tests/corpora/fuzz/$target" "${options[@]}"
done
