"""`log` waits for a writer that works or may not work, and gives up on one that is stuck."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

import codex_obs
from codex_obs.testing import ManualClock, open_run, read_rows

if TYPE_CHECKING:
    from pathlib import Path

# Logs as fast as it can, so that the ring is full nearly all of the time, until it is told to end.
LOOP = """
import json, os, signal, sys
import codex_obs

settings = {"ring_bytes": 256 << 10, "max_block_s": float(sys.argv[2]), "fsync": "never", "max_shard_bytes": None}
run = codex_obs.init(sys.argv[1], **settings)
ended = []
signal.signal(signal.SIGUSR1, lambda *_: ended.append(True))
metrics = {f"m{index}": float(index) for index in range(50)}
print(flush=True)
step = 0
while not ended:
    run.log(metrics, step=step)
    step += 1
run.close(None)
print(json.dumps(run.stats()))
"""


@pytest.mark.parametrize(("max_block_s", "stops", "stop_s"), [(0.3, 3, 0.6), (0.02, 15, 0.06)])
def test_time_in_which_the_process_stands_still_is_not_the_writers_silence(
    run_dir: Path, max_block_s: float, stops: int, stop_s: float
) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", LOOP, str(run_dir), str(max_block_s)], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    program.stdout.readline()
    for _ in range(stops):
        # The loop fills the ring within a millisecond. How long it stands still is what is tried here.
        time.sleep(0.02)
        os.kill(program.pid, signal.SIGSTOP)
        time.sleep(stop_s)
        os.kill(program.pid, signal.SIGCONT)
    os.kill(program.pid, signal.SIGUSR1)
    output, _ = program.communicate(timeout=60)
    stats = json.loads(output)
    assert (stats["rows_dropped"], stats["rows_waiting"]) == (0, 0)
    assert stats["calls_blocked"] > 0, "the ring was never full"


def test_a_rotation_over_many_shards_is_progress(run_dir: Path) -> None:
    run_dir.mkdir()
    shards = 12_000
    for number in range(1, shards + 1):
        (run_dir / f"metrics.ndjson.{number}").write_bytes(b'{"metric":"x","value":1,"step":1}\n')
    # One rotation takes many times as long as a call waits for a writer that does nothing.
    settings = {"ring_bytes": 256 << 10, "max_block_s": 0.1, "max_shard_bytes": 256 << 10, "fsync": "never"}
    run = codex_obs.init(run_dir, backup_count="all", **settings)  # type: ignore[arg-type]
    metrics = {f"m{index}": float(index) for index in range(50)}
    step = 0
    while run.stats()["rotations"] < 2:
        run.log(metrics, step=step)
        step += 1
    assert run.close(None)
    assert (run.stats()["rows_dropped"], run.stats()["rows_waiting"]) == (0, 0)
    assert codex_obs.read(run_dir).height == shards + 50 * step


@pytest.mark.parametrize("timestamp", [None, 5.0])
def test_a_clock_that_is_set_back_does_not_take_rows_back(run_dir: Path, timestamp: float | None) -> None:
    clock = ManualClock(1000.0)
    with open_run(run_dir, clock=clock) as run:
        run.log({"m": 0}, step=0)
        clock.advance(1.0)
        run.log({"m": 1}, step=1)
        clock.advance(-3600.0)
        run.log({"m": 2}, step=2)
        # One that is given stays as it is, and the next one is not measured by it.
        run.log({"m": 3}, step=3, timestamp=timestamp)
        clock.advance(2.0)
        run.event("TRAINER", step=4, m=4)
        log = run.bind("m")
        clock.set(-5000.0)
        log(5, step=5)
        assert run.stats()["clock_steps_back"] == 2
    seconds = [str(row["timestamp"])[14:19] for row in read_rows(run_dir)]
    given = "16:41" if timestamp is None else "00:05"
    assert seconds == ["16:40", "16:41", "16:41", given, "16:43", "16:43"]
    finish = json.loads((run_dir / "run.ndjson").read_text().splitlines()[-1])
    assert finish["timestamp"] >= max(str(row["timestamp"]) for row in read_rows(run_dir))


def test_a_forked_child_does_not_go_back_behind_its_parent(run_dir: Path) -> None:
    clock = ManualClock(1000.0)
    with open_run(run_dir, clock=clock) as run:
        run.log({"m": 0}, step=0)
        clock.advance(-60.0)
        child = os.fork()
        if child == 0:
            run.log({"m": 1}, step=1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        run.log({"m": 2}, step=2)
    times = codex_obs.read(run_dir).sort("step")["timestamp"].to_list()
    assert times[0] <= times[1]
    assert times[0] <= times[2]
