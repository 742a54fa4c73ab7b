"""Logs from a step on until it is killed: at full speed, or so many calls a second."""

from __future__ import annotations

import sys
import threading

import codex_obs
from faults.tally import Tally


def main() -> None:
    directory, tally_path, start, rank, calls_per_s = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    tally = Tally(tally_path)
    run = codex_obs.init(directory, rank=rank, max_shard_bytes=500_000, backup_count="all")
    pause = threading.Event()
    step = start
    while True:
        tally.log(run, {"a": step, "b": 0.5, "c": [step] if step % 100 == 0 else None}, step)
        step += 1
        if calls_per_s:
            pause.wait(1 / calls_per_s)


main()
