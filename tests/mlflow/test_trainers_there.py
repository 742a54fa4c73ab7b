"""The trainers among the examples at a real MLflow server: metrics and traces of the same run, from the same events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import codex_obs
from rig.rest import Client
from rig.server import python_of_the_server

if TYPE_CHECKING:
    from rig.server import Server

pytestmark = pytest.mark.mlflow
pytest.importorskip("gymnasium", reason="needs gymnasium")

EXAMPLES = Path(__file__).parents[2] / "examples"
UPDATES = 4
# Few steps, and one evaluation at the end. YAML reads 3e-4 as text.
CONFIG = """
num_updates: 4
num_envs: 2
rollout_length: 16
eval_interval: 4
num_eval_episodes: 2
learning_rate: 3e-4
"""
READER = """
import json, sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
found = []
for trace in mlflow.search_traces(run_id=sys.argv[2], return_type="list"):
    for span in trace.data.spans:
        events = {event.name: event.attributes for event in span.events}
        found.append({"name": span.name, "update": span.attributes["update"], "events": events})
print(json.dumps(found, default=str))
"""


def traces(server: Server, remote_run: str) -> list[dict[str, Any]]:
    """Give the spans that MLflow's own client finds for a run."""
    command = [str(python_of_the_server()), "-c", READER, server.uri, remote_run]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("program", ["ppo.py", "spo.py"])
def test_metrics_and_traces_stand_in_the_run_that_was_named(program: str, server: Server, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    client = Client(server.port)
    remote_run = client.create_run()
    options = {
        "--config": str(tmp_path / "config.yaml"),
        "--run-dir": str(tmp_path / "run"),
        "--mlflow-tracking-uri": server.uri,
        "--mlflow-run-id": remote_run,
    }
    command = [sys.executable, str(EXAMPLES / program), *(word for option in options.items() for word in option)]
    environment = os.environ | {"CODEX_OTLP_ENABLE": "1", "CODEX_OTLP_ENDPOINT": server.uri}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    check = [sys.executable, "-m", "codex_obs", "check", str(tmp_path / "run"), "--schema", "rl"]
    assert subprocess.run(check, capture_output=True, timeout=60, check=False).returncode == 0

    rows = codex_obs.read(tmp_path / "run").drop_nulls(["step", "value"])
    logged = rows.select((pl.col("split").cast(str) + "/" + pl.col("metric").cast(str)).alias("key"), "step", "value")
    assert sorted(client.points(remote_run).select("key", "step", "value").rows()) == sorted(logged.rows())
    assert client.run(remote_run)["info"]["status"] == "FINISHED"
    params = {param["key"]: param["value"] for param in client.run(remote_run)["data"]["params"]}
    assert (params["learning_rate"], params["num_updates"]) == ("0.0003", "4")
    client.close()

    found = traces(server, remote_run)
    assert Counter(span["name"] for span in found) == {"update": UPDATES, "evaluation": 1}
    losses = dict(rows.filter(split="trainer", metric="value_loss").select("step", "value").iter_rows())
    for span in found:
        if span["name"] == "update":
            assert list(span["events"]) == ["TRAINER", "ACTOR", "MISC"]
            event = span["events"]["TRAINER"]
            assert event["value_loss"] == losses[32 * span["update"]]
        else:
            assert (list(span["events"]), span["events"]["EVALUATOR"]["phase"]) == (["EVALUATOR"], "eval")
