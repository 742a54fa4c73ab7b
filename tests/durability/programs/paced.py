"""Logs at a pace and says how much is flushed, until it is told to end; then closes and says what it counted."""

from __future__ import annotations

import json
import sys
import threading

import codex_obs
from faults.tally import FLUSHED, STATE, Tally

FLUSH_EVERY = 50


def main() -> None:
    directory, tally_path, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    calls_per_s = options.pop("calls_per_s")
    tally = Tally(tally_path)
    run = codex_obs.init(directory, **options)
    pause = threading.Event()
    step = 0
    while tally[STATE] == 0:
        tally.log(run, {"a": step, "b": 0.5, "c": [step] if step % 10 == 0 else None}, step)
        step += 1
        if step % FLUSH_EVERY == 0:
            if run.flush(timeout=5):
                tally[FLUSHED] = step
            pause.wait(FLUSH_EVERY / calls_per_s)
    closed = run.close(timeout=10)
    print(json.dumps({"closed": closed, "stats": run.stats()}), flush=True)


main()
