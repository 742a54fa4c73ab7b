"""Logs, and says which calls are on the disk by `flush(sync=True)`, until its machine loses power."""

from __future__ import annotations

import json
import sys
import threading

import codex_obs
from faults.tally import FLUSHED, Tally

SYNC_EVERY = 2000
CALLS_PER_S = 5000
BURST = 50


def main() -> None:
    directory, tally_path, start, with_sync = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "sync"
    settings = json.loads(sys.argv[5]) if len(sys.argv) > 5 else {"max_shard_bytes": 200_000, "backup_count": "all"}
    tally = Tally(tally_path)
    run = codex_obs.init(directory, ring_bytes=1 << 20, **settings)
    pause = threading.Event()
    step = start
    while True:
        tally.log(run, {"a": step, "b": 0.5}, step)
        step += 1
        if with_sync and step % SYNC_EVERY == 0 and run.flush(timeout=10, sync=True):
            tally[FLUSHED] = step
        if step % BURST == 0:
            pause.wait(BURST / CALLS_PER_S)


main()
