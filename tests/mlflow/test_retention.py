"""Old shards wait for a server that is away, up to a limit; beyond it what is gone is counted, and the rest arrives."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import codex_obs
from faults.tally import wait_until
from rig.case import stored_points
from rig.comparison import NONE, differences, expected_points
from rig.proxy import Proxy
from rig.rest import MAX_METRICS
from rig.trainer import sync

if TYPE_CHECKING:
    from pathlib import Path

    from rig.server import Server

pytestmark = pytest.mark.mlflow
CALLS, METRICS = 400, 10
# Calls that are delivered before the server goes.
BEFORE = 5
DEADLINE_S = 120.0
SHARD_BYTES = 20_000


@pytest.mark.parametrize("kept", [64, 3])
def test_rotation_in_an_outage(kept: int, server: Server, run_dir: Path) -> None:
    with Proxy(server.port) as proxy:
        run = codex_obs.init(
            run_dir,
            mlflow_tracking_uri=proxy.uri,
            max_shard_bytes=SHARD_BYTES,
            backup_count=1,
            archive="none",
            max_unexported_shards=kept,
        )
        for step in range(CALLS):
            run.log({f"m/{number}": step / 7 + number for number in range(METRICS)}, step=step)
            if step == BEFORE - 1:
                wait_until(lambda: run.stats()["metrics_exported"] == BEFORE * METRICS, DEADLINE_S, "the first batches")
                proxy.refuse()
        assert run.flush(60.0)
        left = expected_points(run_dir)
        proxy.listen()
        assert run.close(120.0)
    stats = run.stats()
    assert stats["rows_written"] == CALLS * METRICS
    assert stats["rotations"] > 20
    found = differences(stored_points(server.port, run_dir), left)
    if kept == 64:
        assert left.height == CALLS * METRICS
        assert found == NONE
        assert (stats["rows_retired"], stats["export_gaps"]) == (0, 0)
    else:
        gone = CALLS * METRICS - left.height
        # At the server, though its shard is gone: what was delivered before the outage, and what was on its way.
        assert (found["missing"], found["doubled"]) == (0, 0)
        assert BEFORE * METRICS <= found["foreign"] <= BEFORE * METRICS + MAX_METRICS
        assert stats["rows_retired"] == gone > BEFORE * METRICS
    assert stats["metrics_exported"] == left.height + found["foreign"]
    # Once everything is delivered, nothing is kept beyond what was asked for.
    with codex_obs.init(run_dir, max_shard_bytes=SHARD_BYTES, backup_count=1, archive="none") as again:
        for step in range(100):
            again.log({f"m/{number}": step / 7 + number for number in range(METRICS)}, step=CALLS + step)
    assert len(list(run_dir.glob("metrics.ndjson*"))) == 2


def test_a_session_without_a_server_keeps_what_the_one_before_could_not_deliver(server: Server, run_dir: Path) -> None:
    with Proxy(server.port) as proxy:
        proxy.refuse()
        run = codex_obs.init(
            run_dir, mlflow_tracking_uri=proxy.uri, max_shard_bytes=SHARD_BYTES, backup_count=1, archive="none"
        )
        for step in range(CALLS):
            run.log({"loss": step / 7}, step=step)
        assert run.close(0.5)
        with codex_obs.init(run_dir, max_shard_bytes=SHARD_BYTES, backup_count=1, archive="none") as again:
            for step in range(CALLS, 2 * CALLS):
                again.log({"loss": step / 7}, step=step)
            assert again.flush(60.0)
            stats = again.stats()
        assert stats["rotations"] > 2
        assert stats["rows_retired"] == 0
        proxy.listen()
        sync(run_dir, "--to", "mlflow", "--uri", proxy.uri)
    expected = expected_points(run_dir)
    assert expected.height == 2 * CALLS
    assert differences(stored_points(server.port, run_dir), expected) == NONE


def test_a_file_that_is_truncated_under_way_is_delivered_whole(server: Server, run_dir: Path) -> None:
    run = codex_obs.init(run_dir, mlflow_tracking_uri=server.uri)
    for step in range(100):
        run.log({"loss": step / 7}, step=step)
    wait_until(lambda: run.stats()["metrics_exported"] == 100, DEADLINE_S, "the first hundred")
    os.truncate(run_dir / "metrics.ndjson", 0)
    # So many that the file is longer than before when it is looked at again.
    for step in range(100, 400):
        run.log({"loss": step / 7}, step=step)
    assert run.close(60.0)
    expected = expected_points(run_dir)
    assert expected.height == 300
    stored = stored_points(server.port, run_dir)
    assert differences(stored, expected) == {"missing": 0, "doubled": 0, "foreign": 100}
    stats = run.stats()
    assert (stats["metrics_exported"], stats["export_gaps"], stats["export_lines_skipped"]) == (400, 0, 0)
