"""Going back to a checkpoint where what it supersedes lies in archives, in every reader."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import polars as pl

import codex_obs
from packed import logs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pytest

# A shard holds some seven rows, and one rotated shard stays plain: nearly all rows are in archives.
RULES: dict[str, Any] = {"max_shard_bytes": 2000, "backup_count": 1}
KILLED = """
import os, signal, sys, codex_obs
run = codex_obs.init(sys.argv[1], rank=int(sys.argv[2]), max_shard_bytes=2000, backup_count=1)
for step in range(int(sys.argv[3])):
    run.log({"loss": step}, step=step)
os.kill(os.getpid(), signal.SIGKILL)
"""


def session(directory: Path, steps: Iterable[int], **arguments: Any) -> None:
    with codex_obs.init(directory, **RULES, **arguments) as run:
        for step in steps:
            run.log({"loss": step}, step=step)


def killed(directory: Path, rank: int, steps: int) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, *map(str, (directory, rank, steps))], check=False)
    assert done.returncode == -signal.SIGKILL


def archives(directory: Path, stream: str = "") -> int:
    return len([path for path in logs(directory)[f"metrics{stream}.ndjson"] if ".archive-" in path.name])


def seen(directory: Path, stream: str = "main", *, superseded: bool = False) -> list[tuple[int | None, int]]:
    """Give session and step of each row, which `read`, `scan` and `summarize` agree on."""
    frame = codex_obs.read(directory, superseded=superseded)
    lazily = codex_obs.scan(directory, superseded=superseded).collect()
    assert lazily.equals(frame)
    counts = dict(frame.group_by(pl.col("stream").cast(pl.String)).len().iter_rows())
    summary = codex_obs.summarize(directory, superseded=superseded)
    assert summary["count"].sum() == sum(counts.values())
    rows = frame.filter(pl.col("stream").cast(pl.String) == stream).select("session", "step")
    return list(rows.iter_rows())


def test_superseded_rows_lie_in_archives(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    session(tmp_path, range(70))
    session(tmp_path, range(40, 75), rewind_to=40)
    session(tmp_path, range(60, 70), rewind_to=60)
    assert archives(tmp_path) > 10
    expected = [(0, step) for step in range(40)] + [(1, step) for step in range(40, 60)]
    assert seen(tmp_path) == expected + [(2, step) for step in range(60, 70)]
    assert "45 superseded rows left out" in caplog.text
    assert len(seen(tmp_path, superseded=True)) == 115
    for count, options in ((70, []), (115, ["--superseded"])):
        command = [sys.executable, "-m", "codex_obs", "summarize", str(tmp_path), "--output", "json", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert [group["count"] for group in json.loads(done.stdout)] == [count]
    # Without the archives of the first session the others' places are still right.
    for path in logs(tmp_path)["metrics.ndjson"][:3]:
        path.unlink()
    assert [row for row in seen(tmp_path) if row[0] != 0 and row[0] is not None] == [
        *((1, step) for step in range(40, 60)),
        *((2, step) for step in range(60, 70)),
    ]


def test_a_rewind_reaches_into_the_archives_of_dead_ranks_and_workers(tmp_path: Path) -> None:
    session(tmp_path, range(60), rank=0)
    session(tmp_path, range(60), rank=1)
    killed(tmp_path, 2, 60)
    with codex_obs.init(tmp_path, rank=0, **RULES) as run:
        if (worker := os.fork()) == 0:
            for step in range(60):
                run.log({"worker": step}, step=step)
            run.flush()
            # Its packer has begun, so that others know what is left to do.
            deadline = time.monotonic() + 60
            while not (found := list(tmp_path.glob(f"metrics.pid-{os.getpid()}.ndjson.archive-0*"))):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.01)
            os._exit(0 if found else 1)
        assert os.waitpid(worker, 0)[1] == 0
    session(tmp_path, range(20, 30), rank=0, rewind_to=20)
    session(tmp_path, range(25, 30), rank=1, rewind_to=25)
    # Whoever recovers packs what dead processes left to be packed.
    codex_obs.recover(tmp_path)
    assert min(archives(tmp_path), archives(tmp_path, ".rank-1"), archives(tmp_path, f".pid-{worker}")) > 5
    assert seen(tmp_path) == [(0, step) for step in range(20)] + [(2, step) for step in range(20, 30)]
    # Rank 0 goes back for those that had ended; rank 1 went on from its own place behind that.
    assert seen(tmp_path, "rank-1") == [(0, step) for step in range(20)] + [(1, step) for step in range(25, 30)]
    assert [step for _, step in seen(tmp_path, "rank-2")] == list(range(20))
    assert [step for _, step in seen(tmp_path, f"pid-{worker}")] == list(range(20))
    assert len(seen(tmp_path, "rank-2", superseded=True)) == 60


def test_a_log_with_resume_steps_alone_is_read_as_it_stands(tmp_path: Path) -> None:
    """Start records of before had a `resume_step` and nothing else; rows that were logged again are both there."""
    session(tmp_path, range(50))
    session(tmp_path, range(30, 60), resume_step=30)
    path = tmp_path / "run.ndjson"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        for key in ("at", "job", "rewind_to", "rewound"):
            record.pop(key, None)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert archives(tmp_path) > 5
    expected = [*range(50), *range(30, 60)]
    for superseded in (False, True):
        assert seen(tmp_path, superseded=superseded) == [(None, step) for step in expected]
    # A session of today rewinds that log all the same.
    session(tmp_path, [10], rewind_to=10)
    assert seen(tmp_path) == [*((None, step) for step in range(10)), (2, 10)]
