"""A million values, and what exporting them costs. Figures are printed, and none of them fails a test."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, nullcontext
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import pytest

from rig.case import stored_points
from rig.comparison import NONE, differences, expected_points
from rig.rest import MAX_METRICS, Client
from rig.server import free_port
from rig.table import FIGURES
from rig.trainer import train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from rig.server import Server
    from rig.table import Table

pytestmark = pytest.mark.mlflow
# Calls a second, and metrics that make a batch.
RATE, BATCH = 1000, 50


def bare_rate(port: int, batches: int) -> float:
    """Send batches as large as the server takes, one after the other, and give the metrics a second."""
    client = Client(port)
    run_id, begun = client.create_run(), int(time.time() * 1000)
    started = time.perf_counter()
    for batch in range(batches):
        client.log_batch(
            run_id, [(f"layer/{n % 100}", begun + batch, batch * 10 + n // 100, n / 7) for n in range(MAX_METRICS)]
        )
    rate = batches * MAX_METRICS / (time.perf_counter() - started)
    client.close()
    return rate


def exporter_rate(server: Server, directory: Path, metrics: int) -> float:
    """Log as fast as it goes, and give the metrics a second from the first call until all of them are delivered."""
    told = {"directory": str(directory), "metrics": [f"layer/{n}" for n in range(100)], "calls": metrics // 100}
    report = train(told | {"options": {"mlflow_tracking_uri": server.uri}, "close_s": 1700.0, "odd_values": True})
    assert report["stats"]["metrics_exported"] == metrics
    assert differences(stored_points(server.port, directory), expected_points(directory)) == NONE
    return float(metrics / report["whole_s"])


@pytest.mark.big
def test_a_million_values_are_the_same_at_the_server(server: Server, run_dir: Path, table: Table) -> None:
    rate = exporter_rate(server, run_dir, 1_000_000)
    table.enter(FIGURES, "metrics/s, 1,000,000 of them", f"{rate:,.0f}", "")


@pytest.mark.parametrize(("rounds", "batches"), [(2, 5), pytest.param(5, 20, marks=pytest.mark.big)])
def test_the_rate_beside_a_bare_client(rounds: int, batches: int, server: Server, tmp_path: Path, table: Table) -> None:
    # In turns, so that a machine that is slow for a while is slow for both.
    rates = [
        (exporter_rate(server, tmp_path / str(number), batches * MAX_METRICS), bare_rate(server.port, batches))
        for number in range(rounds)
    ]
    rate, bare = (median(column) for column in zip(*rates, strict=True))
    ratio = median(exporter / client for exporter, client in rates)
    title = f"metrics/s, {rounds} times {batches * MAX_METRICS:,}"
    table.enter(FIGURES, title, f"{rate:,.0f}", f"bare client {bare:,.0f}: {ratio:.2f}")


@contextmanager
def busy(port: int) -> Iterator[None]:
    """Let a bare client send what an exporter would send meanwhile."""
    done = threading.Event()
    client = Client(port)
    run_id, begun = client.create_run(), int(time.time() * 1000)

    def work() -> None:
        started, batch = time.perf_counter(), 0
        while not done.wait(max(0.0, started + batch * BATCH / RATE - time.perf_counter())):
            client.log_batch(run_id, [("loss", begun + n, batch * BATCH + n, n / 7) for n in range(BATCH)])
            batch += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        client.close()


@pytest.mark.parametrize(("rounds", "calls"), [(1, 2000), pytest.param(2, 60_000, marks=pytest.mark.big)])
def test_what_a_call_of_log_takes(rounds: int, calls: int, server: Server, tmp_path: Path, table: Table) -> None:
    there, away = {"mlflow_tracking_uri": server.uri}, {"mlflow_tracking_uri": f"http://127.0.0.1:{free_port()}"}
    # What stands beside an exporter leaves the same work to the rest of the machine.
    cases: dict[str, tuple[dict[str, str], Callable[[], AbstractContextManager[None]]]] = {
        "away": (away, nullcontext),
        "idle": ({}, nullcontext),
        "there": (there, nullcontext),
        "busy": ({}, partial(busy, server.port)),
    }
    longest: dict[str, list[float]] = {name: [] for name in cases}
    inits: dict[str, list[float]] = {name: [] for name in cases}
    # In turns, so that a machine that is slow for a while is slow for all.
    for number in range(rounds):
        for name, (options, surroundings) in cases.items():
            told = {"directory": str(tmp_path / f"{name}-{number}"), "metrics": ["loss"], "calls": calls}
            more = {"calls_per_s": RATE, "options": options, "close_s": 2.0 if name == "away" else 120.0}
            with surroundings():
                report = train(told | more)
            assert report["stats"]["metrics_exported"] == (calls if name == "there" else 0)
            longest[name] += report["longest_logs_s"]
            inits[name].append(report["init_s"])
    total = rounds * calls
    at_9999 = -1 - total // 10_000
    for title, figures in {
        f"99.99 % of {total:,} calls of `log`": {name: sorted(times)[at_9999] for name, times in longest.items()},
        f"longest of {total:,}": {name: max(times) for name, times in longest.items()},
        "`init`, median": {name: median(times) for name, times in inits.items()},
    }.items():
        away_s, idle_s, there_s, busy_s = (f"{seconds * 1e6:,.0f} µs" for seconds in figures.values())
        table.enter(FIGURES, f"{title}, server away", away_s, f"without {idle_s}")
        table.enter(FIGURES, f"{title}, server at work", there_s, f"without, at work for a bare client {busy_s}")
