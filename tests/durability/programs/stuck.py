"""Logs until a file cannot grow, so that an append stays unfinished with rows behind it, and dies of it."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import codex_obs
from faults.tally import ACCEPTED, Tally

BEFORE, BEHIND = 40, 200
DEADLINE_S = 60.0


def main() -> None:
    directory, tally, room = sys.argv[1], Tally(sys.argv[2]), int(sys.argv[3])
    run = codex_obs.init(directory, max_shard_bytes=20_000, backup_count="all", max_block_s=DEADLINE_S)
    for step in range(BEFORE):
        tally.log(run, {"a": step, "b": 0.5}, step)
    assert run.flush(timeout=DEADLINE_S)
    # The length of the file that is appended to, and a little more.
    length = Path(directory, "metrics.ndjson").stat().st_size + room
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for step in range(BEFORE, BEFORE + BEHIND):
        tally.log(run, {"a": step, "b": 0.5}, step)
    assert not run.flush(timeout=DEADLINE_S)
    assert run.stats()["rows_written"] < 2 * tally[ACCEPTED]
    os.kill(os.getpid(), signal.SIGKILL)


main()
