"""Samples of the machine at destinations: under their names, numbered over the life of their file, each once."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from command import start
from destination_files import EVENTS, events_in, written

if TYPE_CHECKING:
    from pathlib import Path


MIB = 1 << 20
# Each has so many numbers for MLflow and TensorBoard.
NUMBERS = 9
SAMPLES = EVENTS.parent / "system" / EVENTS.name


def sample(number: int, host: str = "here") -> dict[str, Any]:
    return {
        "ts": 1_700_000_000.25 + number,
        "run_id": "r1",
        "host": host,
        "cpu_percent": 10.0 + number,
        "cpu_count": 4,
        "memory": {"total": 64 * MIB, "available": 32 * MIB, "percent": 50.0, "used": 32 * MIB, "free": None},
        "swap": None,
        "load_avg": [0.1, 0.2, 0.3],
        "disk": {"total": 100, "used": 40, "free": 60, "percent": 40.0, "read_bytes": None, "write_bytes": None},
        "network": {"bytes_recv": 1_000_000 * (5 + number), "bytes_sent": None},
        "processes": [],
        "cgroup": {"cpu_limit": None, "memory_limit": None, "memory_used": None},
        "gpu_count": 1,
        "gpus": [{"index": 0, "util": 90.0, "mem_used": 5 * MIB, "mem_total": None, "temp_c": None, "power_w": None}],
        "gpu_util_mean": 90.0,
        "errors": [],
    }


def log(run_dir: Path, steps: range, **settings: Any) -> None:
    with codex_obs.init(run_dir, run_id="r1", resume="allow", **settings) as run:
        for step in steps:
            run.log({"loss": 0.5}, step=step)


def take(run_dir: Path, numbers: range, name: str = "system_metrics.jsonl", host: str = "here") -> None:
    with (run_dir / name).open("a") as file:
        file.writelines(json.dumps(sample(number, host)) + "\n" for number in numbers)


def deliver(run_dir: Path, *arguments: str) -> None:
    done = start("sync", run_dir, "--to", *arguments, cwd=run_dir.parent)
    assert done.returncode == 0, done.stderr


def test_event_files_have_each_sample_once_whatever_is_lost_between(run_dir: Path) -> None:
    log(run_dir, range(10))
    take(run_dir, range(5))
    deliver(run_dir, "tensorboard")
    assert (events_in(run_dir / EVENTS), events_in(run_dir / SAMPLES)) == (12, 1 + 5 * NUMBERS)
    take(run_dir, range(5, 8))
    for path in (run_dir / ".codex_obs").glob("export-*"):
        path.unlink()
    log(run_dir, range(10, 12), tensorboard=True)
    assert (events_in(run_dir / EVENTS), events_in(run_dir / SAMPLES)) == (14, 1 + 8 * NUMBERS)
    parts = (run_dir / SAMPLES).read_bytes()
    shutil.rmtree(run_dir / "tensorboard")
    deliver(run_dir, "tensorboard")
    assert (run_dir / SAMPLES).read_bytes() == parts
    # It alone is made anew alone.
    rows = (run_dir / EVENTS).read_bytes()
    shutil.rmtree(run_dir / SAMPLES.parent)
    deliver(run_dir, "tensorboard")
    assert [(run_dir / name).read_bytes() for name in (EVENTS, SAMPLES)] == [rows, parts]


def test_an_offline_run_has_each_sample_once(run_dir: Path) -> None:
    log(run_dir, range(10))
    take(run_dir, range(5))
    deliver(run_dir, "wandb")
    (before,) = (data for name, data in written_by_wandb(run_dir).items())
    assert before.count(b"network.recv") == 5
    deliver(run_dir, "wandb")
    take(run_dir, range(5, 8))
    for path in (run_dir / ".codex_obs").glob("export-*"):
        path.unlink()
    deliver(run_dir, "wandb")
    (after,) = (data for name, data in written_by_wandb(run_dir).items())
    assert after.count(b"network.recv") == 8
    assert after.count(b"memory_percent") == 8


def written_by_wandb(run_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run_dir.glob("wandb/offline-run-*/*.wandb")}


def test_mlflow_gets_system_metrics_numbered_over_the_life_of_the_file(run_dir: Path, tracking: Any) -> None:
    log(run_dir, range(3))
    take(run_dir, range(3))
    deliver(run_dir, "mlflow", "--uri", tracking.uri)
    take(run_dir, range(3, 5))
    deliver(run_dir, "mlflow", "--uri", tracking.uri)
    (run,) = tracking.runs.values()
    found = [metric for metric in run["data"]["metrics"] if metric["key"] == "system/cpu_utilization_percentage"]
    assert [(metric["step"], metric["value"], metric["timestamp"]) for metric in found] == [
        (number, 10.0 + number, 1_700_000_000_250 + 1000 * number) for number in range(5)
    ]
    names = {metric["key"] for metric in run["data"]["metrics"]}
    assert names >= {"system/gpu_0_utilization_percentage", "system/system_memory_usage_percentage"}
    received = [metric["value"] for metric in run["data"]["metrics"] if metric["key"].endswith("receive_megabytes")]
    assert received == [0.0, 1.0, 2.0, 3.0, 4.0], "since the first sample"
    assert len(names) == 1 + NUMBERS


def test_samples_of_another_machine_bear_its_name(run_dir: Path, tracking: Any) -> None:
    log(run_dir, range(3))
    take(run_dir, range(2))
    take(run_dir, range(4), "system_metrics.sidecar-there.jsonl", "there")
    deliver(run_dir, "mlflow", "--uri", tracking.uri)
    (run,) = tracking.runs.values()
    name = "system/there/disk_usage_percentage"
    steps = [metric["step"] for metric in run["data"]["metrics"] if metric["key"] == name]
    assert steps == [0, 1, 2, 3]
    deliver(run_dir, "tensorboard")
    assert events_in(run_dir / EVENTS.parent / "sidecar-there" / "system" / EVENTS.name) == 1 + 4 * NUMBERS


@pytest.mark.parametrize("bad", ["not JSON", '{"ts":null}', "[]", '{"ts":1,"memory":7}'])
def test_what_is_no_sample_is_passed_over(run_dir: Path, bad: str) -> None:
    log(run_dir, range(3))
    take(run_dir, range(1))
    with (run_dir / "system_metrics.jsonl").open("a") as file:
        file.write(f"{bad}\n")
    take(run_dir, range(1, 2))
    deliver(run_dir, "tensorboard")
    assert events_in(run_dir / SAMPLES) == 1 + 2 * NUMBERS


def test_samples_of_a_live_run_are_delivered_while_it_logs_and_at_its_end(run_dir: Path) -> None:
    with codex_obs.init(run_dir, run_id="r1", tensorboard=True, export_interval_s=0.01) as run:
        run.log({"loss": 0.5}, step=0)
        take(run_dir, range(3))
    assert events_in(run_dir / SAMPLES) == 1 + 3 * NUMBERS
    assert set(written(run_dir)) == {str(EVENTS)}
