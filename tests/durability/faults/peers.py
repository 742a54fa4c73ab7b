"""Other trackers, each in its own usual way and without a network. Every row is a number that none of them repeats.

A tracker is opened in a folder, and read back from there by another process with what it has for that.
"""

from __future__ import annotations

import json
import os
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    # Logs a number; ends.
    Tracker = tuple[Callable[[int], object], Callable[[], object]]

METRIC = "number"
PROJECT = "faults"


class CodexObs:
    """This package."""

    package = "codex_obs"

    @staticmethod
    def open(folder: Path) -> Tracker:
        import codex_obs

        run = codex_obs.init(folder / "run")
        return lambda number: run.log({METRIC: number}), run.close

    @staticmethod
    def read(folder: Path) -> Iterator[float]:
        import codex_obs

        codex_obs.recover(folder / "run")
        for path in (folder / "run").glob("metrics.*ndjson*"):
            for line in path.read_text().splitlines():
                yield json.loads(line)["value"]


class WandB:
    """It keeps a log of records in blocks of 32 KiB; offline that is all it keeps."""

    package = "wandb"

    @staticmethod
    def open(folder: Path) -> Tracker:
        import wandb

        settings = wandb.Settings(
            mode="offline", silent=True, console="off", x_disable_meta=True, x_disable_stats=True, disable_git=True
        )
        run = wandb.init(project=PROJECT, dir=str(folder), settings=settings)
        return lambda number: run.log({METRIC: number}), run.finish

    @staticmethod
    def read(folder: Path) -> Iterator[float]:
        from wandb.proto.wandb_internal_pb2 import Record

        for path in folder.rglob("*.wandb"):
            for content in _records(path.read_bytes()):
                record: Any = Record.FromString(content)
                for item in record.history.item:
                    if (item.key or "/".join(item.nested_key)) == METRIC:
                        yield json.loads(item.value_json)


def _records(content: bytes) -> Iterator[bytes]:
    at, parts = 7, []
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        at += 7
        if kind == 0 or at + length > len(content):
            return
        parts.append(content[at : at + length])
        at += length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []


class TensorBoardX:
    """It has no reader; its files are read with its own protocol buffers."""

    package = "tensorboardX"

    @staticmethod
    def open(folder: Path) -> Tracker:
        from tensorboardX import SummaryWriter

        writer = SummaryWriter(str(folder / "events"))
        return lambda number: writer.add_scalar(METRIC, number, number), writer.close

    @staticmethod
    def read(folder: Path) -> Iterator[float]:
        from tensorboardX.crc32c import crc32c
        from tensorboardX.proto.event_pb2 import Event

        for path in folder.glob("events/events.*"):
            data = path.read_bytes()
            while len(data) > 12:
                length, check = struct.unpack_from("<QI", data)
                crc = crc32c(data[:8])
                if check != ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF or 16 + length > len(data):
                    break
                event: Any = Event.FromString(data[12 : 12 + length])
                yield from (entry.simple_value for entry in event.summary.value if entry.tag == METRIC)
                data = data[16 + length :]


class MLflow:
    """Each call is a transaction of SQLite."""

    package = "mlflow"
    synchronous = True

    @classmethod
    def open(cls, folder: Path) -> Tracker:
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.set_experiment(PROJECT)
        mlflow.start_run()
        run_id = mlflow.active_run().info.run_id
        return (
            lambda number: mlflow.log_metric(METRIC, number, step=number, synchronous=cls.synchronous, run_id=run_id),
            mlflow.end_run,
        )

    @staticmethod
    def read(folder: Path) -> Iterator[float]:
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
        for run in client.search_runs([client.get_experiment_by_name(PROJECT).experiment_id]):
            yield from (point.value for point in client.get_metric_history(run.info.run_id, METRIC))


class MLflowAsync(MLflow):
    """The same from a thread of its own."""

    synchronous = False


class Trackio:
    """A thread writes to SQLite."""

    package = "trackio"

    @staticmethod
    def environment(folder: Path) -> None:
        # They are read at the import.
        os.environ |= {"TRACKIO_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}

    @classmethod
    def open(cls, folder: Path) -> Tracker:
        cls.environment(folder)
        import trackio

        run = trackio.init(project=PROJECT, embed=False, auto_log_gpu=False, auto_log_cpu=False)
        return lambda number: run.log({METRIC: number}), run.finish

    @classmethod
    def read(cls, folder: Path) -> Iterator[float]:
        cls.environment(folder)
        from trackio.fragments import import_inbox_dir
        from trackio.sqlite_storage import SQLiteStorage

        import_inbox_dir()
        for run in SQLiteStorage.get_run_records(PROJECT):
            for entry in SQLiteStorage.get_logs(PROJECT, run_id=run["id"]):
                if METRIC in entry:
                    yield entry[METRIC]


TRACKERS: dict[str, Any] = {
    "codex_obs": CodexObs,
    "wandb offline": WandB,
    "tensorboardX": TensorBoardX,
    "mlflow": MLflow,
    "mlflow async": MLflowAsync,
    "trackio": Trackio,
}
