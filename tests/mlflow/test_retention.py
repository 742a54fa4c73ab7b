"""Old shards wait for a server that is away, up to a limit; beyond it what is gone is counted, and the rest arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import codex_obs
from faults.tally import wait_until
from rig.case import stored_points
from rig.comparison import NONE, differences, expected_points
from rig.proxy import Proxy
from rig.rest import MAX_METRICS

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
    with codex_obs.init(run_dir, max_shard_bytes=SHARD_BYTES, backup_count=1) as again:
        for step in range(100):
            again.log({f"m/{number}": step / 7 + number for number in range(METRICS)}, step=CALLS + step)
    assert len(list(run_dir.glob("metrics.ndjson*"))) == 2
