"""What a step's metrics cost with other trackers, each in its own usual way and without a network.

Each is asked for what it kept before it is timed.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    # Logs a step; gives the values kept of a metric; ends.
    Tracker = tuple[Callable[[dict[str, float], int], None], Callable[[str], list[float]], Callable[[], None]]


def tensorboard_x(folder: Path) -> Tracker:
    from tensorboardX import SummaryWriter
    from tensorboardX.proto.event_pb2 import Event

    writer = SummaryWriter(str(folder))

    def log(metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)

    def kept(metric: str) -> list[float]:
        writer.flush()
        (path,) = folder.glob("events.*")
        data, found = path.read_bytes(), []
        while data:
            length = int.from_bytes(data[:8], "little")
            event: Any = Event.FromString(data[12 : 12 + length])
            found += [entry.simple_value for entry in event.summary.value if entry.tag == metric]
            data = data[16 + length :]
        return found

    return log, kept, writer.close


def opentelemetry(folder: Path) -> Tracker:
    del folder
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    meter = provider.get_meter("bench")
    gauges: dict[str, Any] = {}

    def log(metrics: dict[str, float], step: int) -> None:
        del step  # a gauge has none
        for name, value in metrics.items():
            gauge = gauges.get(name)
            if gauge is None:
                gauge = gauges[name] = meter.create_gauge(name)
            gauge.set(value, {"split": "train"})

    def kept(metric: str) -> list[float]:
        data: Any = reader.get_metrics_data()
        (scope,) = data.resource_metrics[0].scope_metrics
        (found,) = (points for points in scope.metrics if points.name == metric)
        return [point.value for point in found.data.data_points]

    return log, kept, provider.shutdown


def mlflow(folder: Path) -> Tracker:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder}.db")
    run_id = client.create_run(client.create_experiment("bench", str(folder))).info.run_id

    def log(metrics: dict[str, float], step: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        client.log_batch(run_id, metrics=[Metric(name, value, now_ms, step) for name, value in metrics.items()])

    def kept(metric: str) -> list[float]:
        return [point.value for point in client.get_metric_history(run_id, metric)]

    return log, kept, lambda: client.set_terminated(run_id)


def wandb(folder: Path) -> Tracker:
    import wandb as package

    folder.mkdir()
    settings = package.Settings(
        mode="offline", silent=True, console="off", x_disable_meta=True, x_disable_stats=True, disable_git=True
    )
    run = package.init(project="bench", dir=str(folder), settings=settings)

    def log(metrics: dict[str, float], step: int) -> None:
        run.log(metrics, step=step, commit=True)

    def kept(metric: str) -> list[float]:
        # Offline, it keeps a binary log of its own; what it shows of it is the last value.
        return [run.summary[metric]]

    return log, kept, run.finish


def trackio(folder: Path) -> Tracker:
    folder.mkdir()
    # Both are read at the import.
    os.environ |= {"TRACKIO_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    import trackio as package

    run = package.init(project="bench", embed=False, auto_log_gpu=False, auto_log_cpu=False)

    def log(metrics: dict[str, float], step: int) -> None:
        run.log(metrics, step=step)

    def kept(metric: str) -> list[float]:
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(folder / "bench.db")) as table:
            return [json.loads(row[0])[metric] for row in table.execute("SELECT metrics FROM metrics ORDER BY step")]
        return []

    return log, kept, run.finish


TRACKERS: dict[str, tuple[str, Callable[[Path], Tracker], int]] = {
    "trackio": ("trackio", trackio, 400),
    "opentelemetry": ("opentelemetry.sdk", opentelemetry, 400),
    "wandb": ("wandb", wandb, 400),
    "tensorboardX": ("tensorboardX", tensorboard_x, 100),
    "mlflow": ("mlflow", mlflow, 10),
}
"""Package, how to open it, and calls in a round."""


def check(tracker: Tracker, metrics: dict[str, float]) -> None:
    """Log three steps and look for the last value of each metric, the only one that all of them show."""
    log, kept, _ = tracker
    for step in range(3):
        log({name: value + step for name, value in metrics.items()}, step)
    # Some have a thread of their own that is not done yet.
    deadline, pause = time.monotonic() + 30, threading.Event()
    for name, value in metrics.items():
        while (found := kept(name)[-1:]) != [pytest.approx(value + 2, rel=1e-5)]:
            assert time.monotonic() < deadline, f"{name} is {found} and not {value + 2}"
            pause.wait(0.05)
