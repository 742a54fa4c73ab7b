"""`kill -9` at any moment costs nothing that `log` had accepted."""

from __future__ import annotations

import mmap
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import polars as pl
import pytest

import codex_obs
from codex_obs import reading

if TYPE_CHECKING:
    from pathlib import Path

METRICS = ("a", "b", "c")
# Counts the accepted calls in memory shared with the test: what is there when the process dies, `log` had returned.
LOGGER = """
import mmap, sys
import codex_obs

directory, counter, start, stream = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
with open(counter, "r+b") as file:
    # One store of eight bytes; struct.pack_into would write zeros first.
    accepted = memoryview(mmap.mmap(file.fileno(), 8)).cast("q")
run = codex_obs.init(directory, rank=int(stream), max_shard_bytes=1_000_000, backup_count="all")
step = start
while True:
    run.log({"a": step, "b": 0.5, "c": [step] if step % 100 == 0 else None}, step=step)
    step += 1
    accepted[0] = step
"""
DEADLINE_S = 60.0


class Victim:
    """A process that logs at full speed until it is killed."""

    def __init__(self, directory: Path, counter: Path, start: int, rank: int) -> None:
        self.start = start
        counter.write_bytes(start.to_bytes(8, sys.byteorder))
        arguments = [sys.executable, "-c", LOGGER, str(directory), str(counter), str(start), str(rank)]
        self.process = subprocess.Popen(arguments)
        with counter.open("r+b") as file:
            self.memory = memoryview(mmap.mmap(file.fileno(), 8)).cast("q")

    def accepted(self) -> int:
        return self.memory[0]

    def wait_until_it_logs(self) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while self.accepted() == self.start:
            assert self.process.poll() is None, "the logging process ended by itself"
            assert time.monotonic() < deadline, "the logging process logs nothing"

    def kill(self, at: int) -> range:
        """Kill it once it has logged the step `at`; give the steps that it had accepted."""
        deadline = time.monotonic() + DEADLINE_S
        while self.accepted() < at:
            assert time.monotonic() < deadline, "the logging process stands still"
        self.process.kill()
        self.process.wait()
        return range(self.start, self.accepted())


def kill_at_random_moments(directory: Path, scratch: Path, times: int, seed: int) -> None:
    rng = random.Random(seed)
    accepted: dict[str, list[range]] = {"main": [], "rank-1": []}
    starts = {"main": 0, "rank-1": 0}
    for _ in range(times):
        victims = {
            stream: Victim(directory, scratch / f"counter-{stream}", starts[stream], rank)
            for rank, stream in enumerate(accepted)
        }
        for victim in victims.values():
            victim.wait_until_it_logs()
        for stream, victim in victims.items():
            steps = victim.kill(victim.accepted() + rng.choice([0, 10, 1000, 20_000]))
            accepted[stream].append(steps)
            # One call may have been logged and not counted.
            starts[stream] = steps.stop + 1

    assert codex_obs.recover(directory)["frames_damaged"] == 0
    frame, report = reading.summarize_files([directory])
    assert report.skipped == 0, "a line was torn"
    assert not list((directory / ".codex_obs").glob("torn-*"))
    rows = codex_obs.read(directory).select(pl.col("stream", "metric").cast(pl.String), "step")
    assert rows.is_duplicated().sum() == 0
    assert frame["count"].sum() == rows.height
    for stream, ranges in accepted.items():
        for metric in METRICS:
            found = rows.filter((pl.col("stream") == stream) & (pl.col("metric") == metric))["step"]
            expected = pl.concat([pl.Series("step", list(steps), dtype=pl.Int64) for steps in ranges])
            assert expected.is_in(found.implode()).all(), f"rows of {stream} are lost"
            # A call that was in the journal when the process died, but had not returned.
            assert 0 <= len(found) - len(expected) <= len(ranges)


def test_kill_at_random_moments_loses_and_doubles_nothing(run_dir: Path, tmp_path: Path) -> None:
    kill_at_random_moments(run_dir, tmp_path, times=5, seed=1)


@pytest.mark.big
def test_kill_at_fifty_random_moments_loses_and_doubles_nothing(run_dir: Path, tmp_path: Path) -> None:
    kill_at_random_moments(run_dir, tmp_path, times=25, seed=2)
