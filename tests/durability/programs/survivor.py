"""Logs until it is told to end, with faulthandler off, or enabled before or after the run is opened."""

from __future__ import annotations

import faulthandler
import json
import sys
import threading

import codex_obs
from faults.tally import STATE, Tally

CALLS_PER_S = 4000
BURST = 20


def main() -> None:
    directory, tally_path, faults = sys.argv[1:]
    tally = Tally(tally_path)
    if faults == "before":
        faulthandler.enable()
    run = codex_obs.init(directory, max_shard_bytes=100_000, backup_count="all", ring_bytes=256 << 10, max_block_s=0.1)
    if faults == "after":
        faulthandler.enable()
    pause = threading.Event()
    step = 0
    while tally[STATE] == 0:
        tally.log(run, {"a": step, "b": [step] if step % 100 == 0 else 0.5}, step)
        step += 1
        if step % BURST == 0:
            pause.wait(BURST / CALLS_PER_S)
    closed = run.close(timeout=1)
    print(json.dumps({"closed": closed, "stats": run.stats()}), flush=True)


main()
