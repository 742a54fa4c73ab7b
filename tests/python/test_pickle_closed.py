"""What comes out of a pickle touches nothing before its first row, and a closed run stays closed."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import polars as pl
import pytest

import codex_obs
from codex_obs import _open_runs
from codex_obs.testing import read_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "cloudpickle": lambda value: pickle.loads(cloudpickle.dumps(value)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def contents(folder: Path) -> dict[str, bytes | None]:
    """Give everything below a folder."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("where", ["there", "gone", "moved"])
def test_a_closed_run_stays_closed_and_touches_nothing(run_dir: Path, way: str, where: str) -> None:
    run = codex_obs.init(run_dir, config={"lr": 0.5}, tags={"a": 1})
    run.log({"loss": 1.0}, step=0)
    run.close()
    if where == "gone":
        shutil.rmtree(run_dir)
    elif where == "moved":
        run_dir.rename(run_dir.with_name("elsewhere"))
    before = contents(run_dir.parent)
    again = COPIES[way](run)
    assert again is not run
    assert (again.closed, again.run_id, again.name, again.path) == (True, run.run_id, run.name, run_dir)
    assert (dict(again.config), dict(again.tags)) == ({"lr": 0.5}, {"a": 1})
    again.log({"loss": 2.0})
    again.bind("loss")(3.0)
    again.event("TRAINER", loss=4.0)
    again.log_params({"late": 1})
    stats = again.stats()
    assert (stats["rows_logged"], stats["rows_dropped_closed"]) == (3, 3)
    assert again.flush()
    assert again.close()
    assert _open_runs.current() is None
    assert contents(run_dir.parent) == before


def test_an_open_run_touches_nothing_before_its_first_row(run_dir: Path) -> None:
    run = codex_obs.init(run_dir, config={"lr": 0.5}, name="first")
    pickled = pickle.dumps(run)
    run.close()
    shutil.rmtree(run_dir)
    arrived = pickle.loads(pickled)
    assert (arrived.closed, arrived.run_id, arrived.name) == (False, run.run_id, "first")
    assert pickle.loads(pickled) is arrived
    assert repr(arrived)
    assert arrived.stats()["rows_logged"] == 0
    arrived.log_params({"epochs": 3})
    assert arrived.flush()
    assert not run_dir.exists()
    arrived.log({"loss": 1.0}, step=4)
    assert arrived.close()
    [row] = read_rows(run_dir)
    assert (row["step"], row["run_id"]) == (4, run.run_id)
    assert json.loads((run_dir / "params.ndjson").read_text())["config"] == {"epochs": 3}
    records = [json.loads(line)["record"] for line in (run_dir / "run.ndjson").read_text().splitlines()]
    assert records == ["start", "finish"]


def test_one_that_never_logs_leaves_nothing(run_dir: Path) -> None:
    run = codex_obs.init(run_dir)
    pickled = pickle.dumps(run)
    run.close()
    before = contents(run_dir)
    program = f"import pickle; run = pickle.loads({pickled!r}); run.flush(); run.stats()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert contents(run_dir) == before


def test_init_does_not_wait_for_what_was_unpickled(run_dir: Path) -> None:
    run = codex_obs.init(run_dir)
    pickled = pickle.dumps(run)
    run.close()
    arrived = pickle.loads(pickled)
    opened = codex_obs.init(run_dir, max_shard_bytes=4096)
    assert opened is not arrived
    assert (opened.stream, opened.settings.max_shard_bytes, _open_runs.current()) == ("main", 4096, opened)
    assert pickle.loads(pickled) is opened
    arrived.log({"loss": 1.0})
    assert arrived.stream == f"pid-{os.getpid()}"


@pytest.mark.parametrize("way", ["pickle", "cloudpickle"])
def test_a_bound_logger_pickles(run_dir: Path, way: str) -> None:
    run = codex_obs.init(run_dir)
    log = run.bind("loss", "acc", split="eval", dataset="d", tags={"phase": "é", "n": float("nan")})
    again = COPIES[way](log)
    log(0.5, 0.25, step=1)
    again(0.5, 0.25, step=1)
    plain = COPIES[way](run.bind("loss"))
    plain(1.0, step=2)
    assert run.close()
    rows = [{key: value for key, value in row.items() if key != "timestamp"} for row in read_rows(run_dir)]
    assert rows[:2] == rows[2:4]
    assert (rows[4]["split"], rows[4]["tags"]) == ("train", {})


def spawned(log: Callable[[float], None], value: float) -> None:
    log(value)


def test_a_bound_logger_arrives_in_a_spawned_worker(run_dir: Path) -> None:
    run = codex_obs.init(run_dir)
    worker = multiprocessing.get_context("spawn").Process(target=spawned, args=(run.bind("loss"), 2.0))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert run.close()
    rows = codex_obs.read(run_dir)
    assert rows["value"].to_list() == [2.0]
    assert rows["stream"].cast(pl.String).to_list() == [f"pid-{worker.pid}"]
