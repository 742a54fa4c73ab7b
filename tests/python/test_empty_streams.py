"""A stream other than the main one makes no file before its first row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import polars as pl
import pytest

import codex_obs

if TYPE_CHECKING:
    from pathlib import Path

# A program without a `__main__` guard: every spawned worker runs all of it.
UNGUARDED = """
import multiprocessing, sys
import codex_obs

run = codex_obs.init(sys.argv[1], config={"lr": 0.5})
run.log_params({"late": True})

def work(number):
    if number == 2:
        run.log({"worker": number}, step=number)
    return number

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.map(work, range(4), chunksize=1) == list(range(4))
        pool.close()
        pool.join()
    run.log({"main": 1.0}, step=9)
    run.close()
"""

SILENT_RANK = """
import sys, codex_obs
run = codex_obs.init(sys.argv[1], rank=3, config={"a": 1}, tags={"b": 2})
run.log_params({"c": 3})
print(run.stream, run.run_id, run.flush(), run.stats()["rows_logged"], dict(run.config))
assert codex_obs.init(sys.argv[1], rank=3) is run
assert run.close()
run.log({"m": 1.0})
print(run.stats()["rows_dropped_closed"])
"""


def names(directory: Path) -> set[str]:
    folders = [folder for folder in (directory, directory / ".codex_obs") if folder.exists()]
    return {path.name for folder in folders for path in folder.iterdir()}


def test_workers_that_run_the_program_again_leave_files_only_if_they_log(run_dir: Path, tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text(UNGUARDED)
    subprocess.run([sys.executable, str(program), str(run_dir)], check=True, timeout=120)
    [stream] = {name.split(".")[1] for name in names(run_dir) if name.startswith("metrics.pid-")}
    kinds = ("metrics", "params", "run", "tracking_summary")
    expected = {f"{kind}.{stream}.ndjson" for kind in kinds} | {f"{kind}.ndjson" for kind in kinds}
    assert {name for name in names(run_dir) if name.endswith(".ndjson")} == expected
    params = [json.loads(line) for line in (run_dir / f"params.{stream}.ndjson").read_text().splitlines()]
    assert [line["config"] for line in params] == [{"lr": 0.5, "late": True}]
    rows = codex_obs.read(run_dir)
    assert sorted(rows["metric"].cast(pl.String).to_list()) == ["main", "worker"]


def test_a_rank_that_never_logs_leaves_nothing(run_dir: Path) -> None:
    with codex_obs.init(run_dir, rank=0) as main:
        main.flush()
        before = names(run_dir)
        done = subprocess.run(
            [sys.executable, "-c", SILENT_RANK, str(run_dir)], capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout.splitlines() == [f"rank-3 {main.run_id} True 0 {{'a': 1, 'c': 3}}", "1"]
        assert names(run_dir) == before


def test_a_rank_begins_with_its_first_row(run_dir: Path) -> None:
    rank = codex_obs.init(run_dir, rank=1, resume_step=7, config={"a": 1}, tags={"t": 2})
    assert names(run_dir) == {"run.json", ".codex_obs"}
    rank.log({"m": 1.0})
    rank.log({"m": 2.0})
    assert rank.close()
    rows = codex_obs.read(run_dir)
    assert (rows["step"].to_list(), rank.stream) == ([7, 8], "rank-1")
    start, finish = (json.loads(line) for line in (run_dir / "run.rank-1.ndjson").read_text().splitlines())
    assert (start["record"], start["stream"], finish["record"]) == ("start", "rank-1", "finish")
    params = json.loads((run_dir / "params.rank-1.ndjson").read_text())
    assert (params["config"], params["metadata"]) == ({"a": 1}, {"tags": {"t": 2}})


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_of_a_rank_that_has_not_logged_leaves_the_ranks_stream_to_it(run_dir: Path) -> None:
    rank = codex_obs.init(run_dir, rank=1, config={"a": 1})
    child = os.fork()
    if child == 0:
        rank.log({"m": 1.0}, step=1)
        rank.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    rank.log({"m": 0.0}, step=0)
    assert rank.stream == "rank-1"
    assert rank.close()
    assert (run_dir / f"metrics.rank-1-pid-{child}.ndjson").read_text().count("\n") == 1
    assert (run_dir / "metrics.rank-1.ndjson").read_text().count("\n") == 1


@pytest.mark.parametrize("obstacle", ["metrics.rank-1.ndjson", "run.rank-1.ndjson"])
def test_what_cannot_be_used_is_refused_by_init(run_dir: Path, obstacle: str) -> None:
    (run_dir / obstacle).mkdir(parents=True)
    with pytest.raises(codex_obs.CodexObsError, match=obstacle):
        codex_obs.init(run_dir, rank=1)
