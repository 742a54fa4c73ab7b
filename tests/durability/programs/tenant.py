"""Opens a run, says which stream it has, logs, waits to be told, and ends."""

from __future__ import annotations

import os
import sys

import codex_obs

directory, number, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
run = codex_obs.init(directory, rank=0)
for step in range(calls):
    run.log({f"tenant{number}": step}, step=step)
print(run.stream, os.getpid(), flush=True)
sys.stdin.readline()
for step in range(calls, 2 * calls):
    run.log({f"tenant{number}": step}, step=step)
assert run.close(timeout=30)
