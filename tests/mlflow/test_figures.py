"""A million values, and what exporting them costs. Figures are printed, and none of them fails a test."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

import pytest

from rig.case import stored_points
from rig.comparison import NONE, differences, expected_points
from rig.rest import MAX_METRICS, Client
from rig.table import FIGURES
from rig.trainer import train

if TYPE_CHECKING:
    from pathlib import Path

    from rig.server import Server
    from rig.table import Table

pytestmark = pytest.mark.mlflow


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


@pytest.mark.parametrize("calls", [2000, pytest.param(60_000, marks=pytest.mark.big)])
def test_what_a_call_of_log_takes(calls: int, server: Server, tmp_path: Path, table: Table) -> None:
    reports = {}
    for name, options in {"with": {"mlflow_tracking_uri": server.uri}, "without": {}}.items():
        told = {"directory": str(tmp_path / name), "metrics": ["loss"], "calls": calls, "calls_per_s": 1000}
        reports[name] = train(told | {"options": options, "close_s": 120.0})
    assert reports["with"]["stats"]["metrics_exported"] == calls
    for figure, title in {
        "log_9999_s": "99.99 % of `log`",
        "longest_log_s": "longest `log`",
        "init_s": "`init`",
    }.items():
        with_it, without = (f"{reports[name][figure] * 1e6:,.0f} µs" for name in ("with", "without"))
        table.enter(FIGURES, f"{title}, {calls:,} calls, 1,000 a second", with_it, f"without {without}")
