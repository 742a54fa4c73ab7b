"""Logs as fast as it can and kills itself, so that its rows are in the journal and few of them in the files."""

from __future__ import annotations

import os
import signal
import sys

import codex_obs

run = codex_obs.init(sys.argv[1], max_shard_bytes=10_000, backup_count="all")
for step in range(int(sys.argv[2])):
    run.log({"a": step, "b": 0.5, "c": [step] if step % 10 == 0 else None}, step=step)
os.kill(os.getpid(), signal.SIGKILL)
