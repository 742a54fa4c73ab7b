"""Forked children never touch what their parent sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

import codex_obs
from rig.case import remote_runs, stored_points
from rig.comparison import NONE, differences, expected_points
from rig.proxy import Proxy
from rig.trainer import report_of, start

if TYPE_CHECKING:
    from pathlib import Path

    from rig.server import Server

pytestmark = pytest.mark.mlflow
CALLS = 400


@pytest.mark.parametrize("ranks", ["main", "all"])
def test_children_that_log_double_and_lose_nothing(ranks: str, server: Server, run_dir: Path) -> None:
    with Proxy(server.port) as proxy:
        options = {"mlflow_tracking_uri": proxy.uri, "export_ranks": ranks}
        report = report_of(start("forker", {"directory": str(run_dir), "calls": CALLS, "options": options}))
        requests = proxy.requests
    assert report["closed"]
    assert {request.method for request in requests} <= {"GET", "POST"}
    assert report["stats"]["metrics_exported"] == CALLS
    assert differences(main_points(server, run_dir), expected_points(run_dir)) == NONE
    assert len(remote_runs(server.port, run_dir)) == 1
    # The children wrote streams of their own.
    rows = codex_obs.read(run_dir)
    assert rows.height == CALLS + CALLS // 50 * 20
    if ranks == "main":
        assert stored_points(server.port, run_dir).height == CALLS


def main_points(server: Server, run_dir: Path) -> pl.DataFrame:
    return stored_points(server.port, run_dir).filter(pl.col("key") == "train/loss")
