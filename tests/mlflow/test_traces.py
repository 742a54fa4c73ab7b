"""Traces at a real MLflow server, read back by MLflow's own client, beside the metrics of the same events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from urllib.request import urlopen

import polars as pl
import pytest

import codex_obs
from codex_obs import telemetry
from rig.server import python_of_the_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rig.server import Server

pytestmark = pytest.mark.mlflow
READER = """
import json, sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
found = []
for trace in mlflow.search_traces(experiment_ids=[sys.argv[2]], return_type="list"):
    spans = [
        {
            "name": span.name, "start": span.start_time_ns, "end": span.end_time_ns, "id": span.span_id,
            "parent": span.parent_id, "status": span.status.status_code.value, "attributes": span.attributes,
            "inputs": span.inputs, "outputs": span.outputs,
            "events": [[event.name, event.timestamp, event.attributes] for event in span.events],
        }
        for span in trace.data.spans
    ]
    found.append({"id": trace.info.trace_id, "state": str(trace.info.state), "spans": spans})
linked = mlflow.search_traces(run_id=sys.argv[3], return_type="list") if sys.argv[3] else []
print(json.dumps({"traces": found, "linked": [trace.info.trace_id for trace in linked]}, default=str))
"""


@pytest.fixture(autouse=True)
def _nothing_is_configured() -> Iterator[None]:
    yield
    telemetry.configure({})


def read_back(server: Server, experiment: str, run_id: str) -> dict[str, Any]:
    """Give what MLflow's own client reads."""
    command = [str(python_of_the_server()), "-c", READER, server.uri, experiment, run_id]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_metrics_and_traces_of_the_same_events_belong_to_one_run(server: Server, tmp_path: Path) -> None:
    telemetry.configure({"CODEX_OTLP_ENABLE": "1", "CODEX_OTLP_ENDPOINT": server.uri}, capture_content=True)
    with codex_obs.init(tmp_path / "run", mlflow_tracking_uri=server.uri) as run:
        with telemetry.thread("t-1", input={"ask": "why"}) as thread:
            thread.set(output="because")
            with run.span("update", update=3):
                run.event("TRAINER", update=3, loss=0.5)
            with pytest.raises(ZeroDivisionError), telemetry.tool("x", arguments=[1]):
                raise ZeroDivisionError
        frame = telemetry.read(run)
        assert run.close(60.0)
    assert run.stats()["spans_exported"] == 3
    identity = json.loads((run.path / "run.json").read_text())
    remote_run = identity["destinations"][f"mlflow {server.uri}"]
    found = read_back(server, "0", remote_run)
    trace_id = frame["trace_id"][0]
    (trace,) = [trace for trace in found["traces"] if trace["id"] == f"tr-{trace_id}"]
    assert found["linked"] == [trace["id"]]
    assert "OK" in trace["state"]
    spans = {span["name"]: span for span in trace["spans"]}
    times = frame.with_columns(pl.col("start", "end").cast(pl.Int64))
    rows = {row["name"]: row for row in times.iter_rows(named=True)}
    assert set(spans) == set(rows) == {"codex.thread", "update", "codex.tool x"}
    for name, span in spans.items():
        row = rows[name]
        assert (span["start"], span["end"], span["id"]) == (row["start"], row["end"], row["span_id"])
        assert span["parent"] == row["parent_span_id"]
        assert span["status"] == ("ERROR" if name == "codex.tool x" else "OK")
        own = json.loads(row["attributes"])
        assert {key: span["attributes"][key] for key in own if not isinstance(own[key], (dict, list))} == {
            key: value for key, value in own.items() if not isinstance(value, (dict, list))
        }
    assert spans["codex.thread"]["inputs"] == {"ask": "why"}
    assert spans["codex.thread"]["outputs"] == "because"
    (event,) = spans["update"]["events"]
    assert (event[0], event[2]) == ("TRAINER", {"update": 3, "loss": 0.5})

    # The same again changes nothing.
    for progress in (run.path / ".codex_obs").glob("export-main-*.json"):
        if '"without_rows":true' in progress.read_text():
            progress.unlink()
    command = [sys.executable, "-m", "codex_obs", "sync", str(run.path), "--to", "otlp", "--uri", server.uri]
    again = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (again.returncode, again.stdout.strip().rpartition(": ")[2]) == (0, "3 spans delivered to otlp"), again
    assert read_back(server, "0", remote_run) == found


def test_without_an_mlflow_run_traces_arrive_all_the_same(server: Server, tmp_path: Path) -> None:
    # The run's MLflow server is what it is, and no metric was sent there.
    with codex_obs.init(tmp_path / "run"), telemetry.span("alone"):
        trace_id = telemetry.current_span().trace_id  # type: ignore[union-attr]
    command = [sys.executable, "-m", "codex_obs", "sync", str(tmp_path / "run"), "--to", "otlp", "--uri", server.uri]
    environment = os.environ | {"CODEX_OBS_MLFLOW_TRACKING_URI": server.uri}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done
    found = read_back(server, "0", "")
    assert f"tr-{trace_id}" in {trace["id"] for trace in found["traces"]}


def test_without_a_run_traces_go_to_the_experiment_of_the_settings_which_is_made(
    server: Server, tmp_path: Path
) -> None:
    name = f"agents & tools ü {tmp_path.name}"
    traces = []
    for number in range(2):
        # The second time the experiment is there.
        path = tmp_path / f"run-{number}"
        with codex_obs.init(path), telemetry.span("alone") as span:
            traces.append(f"tr-{span.trace_id}")
        command = [sys.executable, "-m", "codex_obs", "sync", str(path), "--to", "otlp", "--uri", server.uri]
        environment = os.environ | {
            "CODEX_OBS_MLFLOW_TRACKING_URI": server.uri,
            "MLFLOW_EXPERIMENT_NAME": name,
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stdout.strip().rpartition(": ")[2]) == (0, "1 span delivered to otlp"), done
    with urlopen(f"{server.uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name={quote(name)}") as answer:
        experiment = json.load(answer)["experiment"]["experiment_id"]
    assert experiment != "0"
    assert {trace["id"] for trace in read_back(server, experiment, "")["traces"]} == set(traces)
