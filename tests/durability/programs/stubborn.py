"""Logs until it is killed on a file system that fails and lies: tries to open the run until that works."""

from __future__ import annotations

import sys
import threading
from typing import Literal

import codex_obs
from faults.tally import STATE, Tally

CALLS_PER_S = 3000
BURST = 30
# Longer than any series of failures: what is not accepted for want of room would have to be counted.
PATIENCE_S = 600.0


def main() -> None:
    directory, tally_path, start = sys.argv[1], sys.argv[2], int(sys.argv[3])
    # Rotated shards that stay plain.
    plain = sys.argv[4] if len(sys.argv) > 4 else "all"
    backup_count: Literal["all"] | int = "all" if plain == "all" else int(plain)
    tally = Tally(tally_path)
    pause = threading.Event()
    while True:
        try:
            run = codex_obs.init(directory, max_shard_bytes=60_000, backup_count=backup_count, max_block_s=PATIENCE_S)
            break
        except codex_obs.CodexObsError:
            pause.wait(0.02)
    step = start
    while tally[STATE] == 0:
        for _ in range(BURST):
            tally.log(run, {"a": step, "b": [step] if step % 50 == 0 else 0.5}, step)
            step += 1
        pause.wait(BURST / CALLS_PER_S)
    # Told that the faults are over.
    assert run.close(timeout=60)
    stats = run.stats()
    assert stats["rows_dropped"] == 0, stats
    assert stats["rows_written"] == stats["rows_logged"], stats


main()
