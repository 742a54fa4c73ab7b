"""Logs until it is told to end, whatever happens to its disk, with faulthandler off or enabled before or after the run is opened."""

from __future__ import annotations

import faulthandler
import json
import sys
import threading
import traceback

from faults.tally import EXCEPTIONS, STATE, Tally

import codex_obs

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
        try:
            tally.log(run, {"a": step, "b": [step] if step % 100 == 0 else 0.5}, step)
        except Exception:  # noqa: BLE001 - none is allowed, so each of them is counted and shown
            tally[EXCEPTIONS] += 1
            traceback.print_exc()
        step += 1
        if step % BURST == 0:
            pause.wait(BURST / CALLS_PER_S)
    closed = run.close(timeout=1)
    print(json.dumps({"closed": closed, "stats": run.stats()}), flush=True)


main()
