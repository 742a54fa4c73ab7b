"""Samples of the machine stand where MLflow's page looks for its "System metrics", under its own client's names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import codex_obs
from faults.tally import wait_until
from rig.case import remote_runs
from rig.rest import Client
from rig.server import python_of_the_server

if TYPE_CHECKING:
    from rig.server import Server

pytestmark = pytest.mark.mlflow
PREFIX = "system/"
DEADLINE_S = 60.0
FOLDER = (
    "import importlib.util, sys; sys.stdout.write(importlib.util.find_spec('mlflow').submodule_search_locations[0])"
)


@pytest.fixture(scope="module")
def mlflow_folder() -> Path:
    """Give the folder of MLflow's package."""
    done = subprocess.run([str(python_of_the_server()), "-c", FOLDER], capture_output=True, text=True, check=True)
    return Path(done.stdout)


def deliver(run_dir: Path, server: Server) -> None:
    command = [sys.executable, "-m", "codex_obs", "sync", str(run_dir), "--uri", server.uri]
    subprocess.run(command, check=True, timeout=120)


def is_sampled(samples: Path) -> bool:
    """Say whether the file grows within some intervals."""
    length = samples.stat().st_size
    time.sleep(1.0)
    return samples.stat().st_size != length


def without_numbers(names: set[str]) -> set[str]:
    return {re.sub(r"^gpu_\d+_", "gpu_N_", name) for name in names}


def own_names(folder: Path) -> set[str]:
    """Give the names that MLflow's own client has for what it samples."""
    sources = [path.read_text() for path in (folder / "system_metrics" / "metrics").glob("*.py")]
    found = {name for source in sources for name in re.findall(r'_metrics\[f?"([\w{}]+)"\]', source)}
    return {name.replace("gpu_{i}_", "gpu_N_") for name in found}


def test_the_page_looks_for_the_prefix_that_samples_have(mlflow_folder: Path) -> None:
    scripts = [path.read_text() for path in (mlflow_folder / "server/js/build/static/js").glob("main.*.js")]
    assert scripts
    (script,) = scripts
    assert re.search(rf'"{PREFIX}",\w+="System metrics"', script)


def test_samples_of_a_live_run_have_mlflow_s_names_and_are_numbered(
    server: Server, run_dir: Path, mlflow_folder: Path
) -> None:
    pytest.importorskip("psutil")
    with codex_obs.init(
        run_dir, mlflow_tracking_uri=server.uri, system_metrics="auto", system_metrics_interval_s=0.1
    ) as run:
        samples = run_dir / "system_metrics.jsonl"
        run.log({"loss": 0.5}, step=0)
        wait_until(lambda: samples.exists() and len(samples.read_text().splitlines()) >= 5, DEADLINE_S, "five samples")
        assert run.close(DEADLINE_S)
    # The process beside the trainer ends a moment later.
    wait_until(lambda: not is_sampled(samples), DEADLINE_S, "an end of the samples")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    # The last samples may have been taken while the run was closed.
    deliver(run_dir, server)
    (remote,) = remote_runs(server.port, run_dir)
    client = Client(server.port)
    points = list(client.history(remote["info"]["run_id"], f"{PREFIX}cpu_utilization_percentage"))
    keys = set(client.keys(remote["info"]["run_id"])) - {"train/loss"}
    client.close()
    assert {key[: len(PREFIX)] for key in keys} == {PREFIX}
    assert {f"{PREFIX}{name}" for name in ("cpu_utilization_percentage", "system_memory_usage_megabytes")} <= keys
    assert without_numbers({key.removeprefix(PREFIX) for key in keys}) <= own_names(mlflow_folder)
    assert [(step, value) for _, _, step, value in points] == [
        (number, line["cpu_percent"]) for number, line in enumerate(lines) if line["cpu_percent"] is not None
    ]
    times = [int(lines[step]["ts"] * 1000) for _, _, step, _ in points]
    assert all(abs(timestamp_ms - time) <= 1 for (_, timestamp_ms, _, _), time in zip(points, times, strict=True))


def test_gpus_and_other_machines_have_mlflow_s_names_too(server: Server, run_dir: Path, mlflow_folder: Path) -> None:
    gpus = [
        {"index": index, "util": 50.0, "mem_used": 1 << 30, "mem_total": 2 << 30, "temp_c": 40.0, "power_w": 200.0}
        for index in range(2)
    ]
    codex_obs.init(run_dir, mlflow_tracking_uri=server.uri).close()
    for name, host in (("system_metrics.jsonl", "here"), ("system_metrics.sidecar-there.jsonl", "there")):
        sample = {"ts": time.time(), "host": host, "cpu_percent": 7.0, "gpus": gpus}
        (run_dir / name).write_text(json.dumps(sample) + "\n")
    deliver(run_dir, server)
    (remote,) = remote_runs(server.port, run_dir)
    client = Client(server.port)
    keys = set(client.keys(remote["info"]["run_id"]))
    client.close()
    there = {key for key in keys if key.startswith(f"{PREFIX}there/")}
    here = {key.removeprefix(PREFIX) for key in keys - there}
    # MLflow's own client puts the node's name there, too.
    assert {key.removeprefix(f"{PREFIX}there/") for key in there} == here
    assert {
        f"gpu_{index}_{what}" for index in range(2) for what in ("utilization_percentage", "power_usage_watts")
    } <= here
    assert without_numbers(here) <= own_names(mlflow_folder)
