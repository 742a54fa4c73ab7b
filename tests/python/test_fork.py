"""Forks: parent and child go on, each with its own stream, and nothing hangs."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from typing import TYPE_CHECKING

import polars as pl
import pytest

import codex_obs
from children import run_in_child, wait

if TYPE_CHECKING:
    from pathlib import Path

# Python from 3.12 on warns of any thread at a fork; ours is joined before, the test's own are not.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def steps_by_stream(directory: Path) -> dict[str, list[int]]:
    rows = codex_obs.read(directory).with_columns(pl.col("stream").cast(pl.String))
    return {str(stream): group["step"].to_list() for (stream,), group in rows.group_by("stream", maintain_order=True)}


def test_a_child_logs_to_its_own_stream_and_the_parent_goes_on(run_dir: Path) -> None:
    run = codex_obs.init(run_dir)
    run.log({"loss": 0.5}, step=0)

    def action() -> None:
        run.log({"loss": 1.5}, step=100)
        assert run.stats()["rows_logged"] == 1
        run.log({"loss": 1.5})

    child = run_in_child(action)
    run.log({"loss": 0.5}, step=1)
    # The child ended by `os._exit`: close brings its rows back.
    assert run.close()
    assert run.stats()["rows_logged"] == 2
    assert steps_by_stream(run_dir) == {"main": [0, 1], f"pid-{child}": [100, 101]}
    start = json.loads((run_dir / f"run.pid-{child}.ndjson").read_text().splitlines()[0])
    assert (start["record"], start["pid"], start["stream"]) == ("start", child, f"pid-{child}")


def test_a_child_that_does_not_log_leaves_nothing(run_dir: Path) -> None:
    run = codex_obs.init(run_dir)
    run.log({"loss": 0.5}, step=0)

    def action() -> None:
        assert run.flush()
        assert run.stats()["rows_logged"] == 0
        assert run.close()

    child = run_in_child(action)
    run.log({"loss": 0.5}, step=1)
    assert run.close()
    assert steps_by_stream(run_dir) == {"main": [0, 1]}
    assert not list(run_dir.glob(f"*{child}*"))


def test_a_run_closed_before_the_fork_stays_closed(run_dir: Path) -> None:
    run = codex_obs.init(run_dir)
    run.close()

    def action() -> None:
        run.log({"loss": 0.5})
        stats = run.stats()
        assert (stats["rows_logged"], stats["rows_dropped_closed"]) == (1, 1)

    run_in_child(action)
    assert codex_obs.read(run_dir).height == 0


def test_a_child_of_a_child_has_a_stream_too(run_dir: Path) -> None:
    run = codex_obs.init(run_dir)

    def action() -> None:
        run.log({"loss": 1.0}, step=1)
        run_in_child(lambda: run.log({"loss": 2.0}, step=2))
        assert run.close()

    run_in_child(action)
    run.log({"loss": 0.0}, step=0)
    assert run.close()
    assert sorted(steps_by_stream(run_dir).values()) == [[0], [1], [2]]


def test_forks_while_threads_log_lose_and_double_nothing(run_dir: Path) -> None:
    run = codex_obs.init(run_dir, backup_count="all")
    stop = threading.Event()
    counts = [0, 0, 0]

    def work(index: int) -> None:
        while not stop.is_set():
            run.log({f"thread{index}": counts[index]}, step=counts[index])
            counts[index] += 1

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    children = []
    try:
        for fork in range(30):
            child = os.fork()
            if child == 0:
                run.log({"child": fork}, step=fork)
                os._exit(0)
            children.append(child)
        assert [wait(child) for child in children] == [0] * 30
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert run.close()
    streams = steps_by_stream(run_dir)
    assert sorted(streams.pop("main")) == sorted(step for count in counts for step in range(count))
    assert sorted(streams.values()) == [[fork] for fork in range(30)]


def log_square(number: int) -> int:
    codex_obs.log({"square": number * number}, step=number)
    return number


def test_pool_workers_log_through_the_current_run(run_dir: Path) -> None:
    run = codex_obs.init(run_dir)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(log_square, range(50), chunksize=5) == list(range(50))
        pool.close()
        pool.join()
    assert run.close()
    rows = codex_obs.read(run_dir)
    assert sorted(rows["step"].to_list()) == list(range(50))
    assert "main" not in rows["stream"].cast(pl.String).to_list()
