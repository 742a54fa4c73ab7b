#!/usr/bin/env bash
# The engine's tests under the sanitizers named (thread, address), and its models under loom.
# The sanitizers need a nightly toolchain and no sources of the standard library, which stays without instrumentation.
set -euo pipefail
cd "$(dirname "$0")/../.."

nightly=${NIGHTLY:-nightly}
host=$(rustc -vV | sed -n 's/^host: //p')
# A fault that is handled while ThreadSanitizer's own runtime has a lock never ends: these raise SIGBUS on purpose. The last one
# has one thread and 64 MiB, which take it many minutes.
handled=(--skip journal::fault --skip truncated_journal --skip bytes_were_lost --skip a_line_beyond_the_cap)

[ $# -gt 0 ] || set -- thread address loom
for kind in "$@"; do
  case $kind in
    thread)
      # One test at a time: rustix maps and unmaps without libc, so that two tests seem to meet at an address that both had.
      export TSAN_OPTIONS="suppressions=$PWD/rust/sanitizers/thread.txt"
      RUSTFLAGS='-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer' \
        cargo "+$nightly" test -p codex-obs-core --target "$host" --target-dir target/thread --lib --test it -- --test-threads 1 "${handled[@]}"
      ;;
    address)
      export LSAN_OPTIONS="suppressions=$PWD/rust/sanitizers/leak.txt"
      RUSTFLAGS='-Zsanitizer=address' \
        cargo "+$nightly" test -p codex-obs-core --target "$host" --target-dir target/address --lib --test it
      ;;
    loom)
      # One at a time: a session stands in a list of all that are open in the process.
      RUSTFLAGS='--cfg loom' \
        cargo test -p codex-obs-core --profile loom --target-dir target/loom --lib -- --test-threads 1 model_
      ;;
    *)
      echo "run.sh: $kind is none of thread, address, loom" >&2
      exit 2
      ;;
  esac
done
