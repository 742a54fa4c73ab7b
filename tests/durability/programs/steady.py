"""Logs at a steady pace until it is told to end, then says what it counted.

The tally's STATE is a command: 0 log on; 1 close, print and end; 2 limit the size of files; 3 lift that limit.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from pathlib import Path

import codex_obs
from faults.tally import ACCEPTED, STATE, Tally

BURST = 10
SLOW_NS = 5_000_000


def main() -> None:
    directory, tally_path, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    calls_per_s = settings.pop("calls_per_s")
    tally = Tally(tally_path)
    run = codex_obs.init(directory, **settings)
    pause = threading.Event()
    step = 0
    # Calls longer than five milliseconds or all before them: nanoseconds, and whether others had the core meanwhile.
    slow = []
    longest = 0
    tally[ACCEPTED] = 0
    while tally[STATE] != 1:
        obey(tally, directory)
        for _ in range(BURST):
            switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
            begun = time.perf_counter_ns()
            run.log({"loss": step * 0.5}, step=step)
            took = time.perf_counter_ns() - begun
            if took > min(longest, SLOW_NS):
                preempted = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw > switches
                longest = longest if preempted else max(longest, took)
                slow.append((took, preempted))
            step += 1
            tally[ACCEPTED] = step
        pause.wait(BURST / calls_per_s)
    closed = run.close(timeout=20)
    print(json.dumps({"closed": closed, "stats": run.stats(), "slow": slow}), flush=True)


def obey(tally: Tally, directory: str) -> None:
    """Carry a command out."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    if tally[STATE] == 2:
        length = Path(directory, "metrics.ndjson").stat().st_size
        # In the middle of a line: the last write that fits is a partial one.
        resource.setrlimit(resource.RLIMIT_FSIZE, (length + 1000, hard))
        tally[STATE] = 0
    elif tally[STATE] == 3:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        tally[STATE] = 0


main()
