"""A long run with default settings: every row from step 0, also after a kill and after eight resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

import codex_obs

if TYPE_CHECKING:
    from pathlib import Path

METRICS = 8
# A shard of the default size has the rows of some 43,000 steps.
DEFAULT_STEPS, DEFAULT_BYTES = 250_000, 64 << 20

TRAINER = """
import os, random, signal, sys
import codex_obs
start, stop, last = map(int, sys.argv[1:4])
chance = random.Random(start)
run = codex_obs.init("run")
for step in range(start, stop):
    run.log({f"m{index}": chance.random() for index in range(8)}, step=step)
    if step == last:
        os.kill(os.getpid(), signal.SIGKILL)
assert run.close(None)
assert run.stats()["rows_dropped"] == run.stats()["rows_retired"] == 0
"""


def train(folder: Path, start: int, stop: int, steps: int, *, killed_at: int = -1) -> None:
    settings = (
        {}
        if steps == DEFAULT_STEPS
        else {"CODEX_TRACKING_NDJSON_MAX_BYTES": str(DEFAULT_BYTES * steps // DEFAULT_STEPS)}
    )
    done = subprocess.run(
        [sys.executable, "-c", TRAINER, str(start), str(stop), str(killed_at)],
        cwd=folder,
        env={**os.environ, **settings},
        check=False,
        timeout=600,
    )
    assert done.returncode == (0 if killed_at < 0 else -signal.SIGKILL)


@pytest.mark.parametrize("steps", [5_000, pytest.param(DEFAULT_STEPS, marks=pytest.mark.big)])
@pytest.mark.parametrize("how", ["at once", "killed in the middle", "on eight days"])
def test_a_summary_counts_every_row_from_step_0(how: str, steps: int, tmp_path: Path) -> None:
    if how == "at once":
        train(tmp_path, 0, steps, steps)
    elif how == "killed in the middle":
        train(tmp_path, 0, steps, steps, killed_at=steps // 2)
        train(tmp_path, steps // 2 + 1, steps, steps)
    else:
        for day in range(8):
            train(tmp_path, steps * day // 8, steps * (day + 1) // 8, steps)
            aged = time.time() - 2 * 86_400
            for path in (tmp_path / "run").glob("*.ndjson*"):
                os.utime(path, (aged, aged))
    run = tmp_path / "run"
    summary = codex_obs.summarize(run)
    assert summary["count"].to_list() == [steps] * METRICS
    assert summary["first_step"].to_list() == [0] * METRICS
    assert summary["last_step"].to_list() == [steps - 1] * METRICS
    packed = sum(path.stat().st_size for path in run.glob("metrics.ndjson.archive-*.zst"))
    plain = [path.stat().st_size for path in run.glob("metrics.ndjson*") if path.suffix != ".zst"]
    rows = codex_obs.read(run).height
    assert rows == steps * METRICS
    # What the archives hold is what the plain files lack of the rows, each of which takes about as much.
    lines = sum(path.read_bytes().count(b"\n") for path in run.glob("metrics.ndjson*") if path.suffix != ".zst")
    assert 0 < packed <= sum(plain) / lines * (rows - lines) / 12
