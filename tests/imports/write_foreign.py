"""Writes runs with another tracker, and what that tracker's own reader gives back of them.

    python write_foreign.py KIND FOLDER

Runs in an environment that has the tracker; the package itself is not needed there. ``FOLDER/expected.json`` names each
run's metrics as the tracker does: ``{"runs": {name: {"metrics": {metric: [[step, seconds, value], …]}, "params": {…},
"status": …}}}``, with values that are not finite as text.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

STEPS = 25


def values(step: int) -> dict[str, float]:
    """Metrics of one step, some of them not finite, with names that tell a split and names that do not."""
    loss = math.nan if step == 7 else math.inf if step == 8 else 1.0 / (step + 1)
    return {
        "loss": loss,
        "val_loss": 2.0 / (step + 1),
        "val/accuracy": step / STEPS,
        "grad/norm": step**1.5 - 3,
        "lr": 1e-3,
    }


def write_tensorboardx(folder: Path) -> dict[str, object]:
    """A run of tensorboardX, which is PyTorch's writer too: scalars, histograms, text, images, hyperparameters."""
    from tensorboardX import SummaryWriter

    return _write_scalars(SummaryWriter, folder)


def write_torch(folder: Path) -> dict[str, object]:
    """The same by PyTorch."""
    from torch.utils.tensorboard import SummaryWriter

    return _write_scalars(SummaryWriter, folder)


def _write_scalars(writer_class: type, folder: Path) -> dict[str, object]:
    import numpy as np

    writer = writer_class(str(folder / "run"))
    for step in range(STEPS):
        for name, value in values(step).items():
            writer.add_scalar(name, value, step, walltime=1.7e9 + step)
        if step % 10 == 0:
            writer.add_histogram("weights", np.linspace(-1, 1 + step, 200), step, walltime=1.7e9 + step)
            writer.add_text("note", f"at **{step}**", step, walltime=1.7e9 + step)
            writer.add_image("picture", np.zeros((3, 4, 4), dtype=np.uint8), step)
    writer.close()
    return {"run": _accumulated(folder / "run")}


def write_tensorflow(folder: Path) -> dict[str, object]:
    """Runs as TensorFlow 2 and Keras write them, by TensorBoard's own writer: tensors, a folder for each split."""
    import numpy as np
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.histogram.summary_v2 import histogram_pb
    from tensorboard.plugins.text.summary_v2 import text_pb
    from tensorboard.summary import Writer
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    for split in ("train", "validation"):
        scalars = Writer(str(folder / "run" / split))
        for step in range(STEPS):
            for name, value in values(step).items():
                scalars.add_scalar(f"epoch_{name}", value, step, wall_time=1.7e9 + step)
        scalars.close()
    others = EventFileWriter(str(folder / "run" / "train"), filename_suffix=".2")
    for step in range(0, STEPS, 10):
        for summary in (
            histogram_pb("weights", np.linspace(-1, 1 + step, 200)),
            text_pb("note", f"at **{step}**"),
        ):
            others.add_event(Event(wall_time=1.7e9 + step, step=step, summary=summary))
    others.close()
    return {f"run/{split}": _accumulated(folder / "run" / split) for split in ("train", "validation")}


def _accumulated(folder: Path) -> dict[str, object]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0, "histograms": 0})
    reader.Reload()
    tags = reader.Tags()
    metrics = {
        tag: [[event.step, event.wall_time, event.value] for event in reader.Scalars(tag)] for tag in tags["scalars"]
    }
    texts = {}
    counts = {}
    for tag in tags["tensors"]:
        found = [(event, make_ndarray(event.tensor_proto)) for event in reader.Tensors(tag)]
        plugin = reader.SummaryMetadata(tag).plugin_data.plugin_name
        if plugin == "scalars":
            metrics[tag] = [[event.step, event.wall_time, array.item()] for event, array in found]
        elif plugin == "text":
            texts[tag.removesuffix("/text_summary")] = [
                [event.step, array.reshape(-1)[0].decode()] for event, array in found
            ]
        elif plugin == "histograms":
            counts[tag] = [[event.step, float(array[:, 2].sum())] for event, array in found]
    for tag in tags["histograms"]:
        counts[tag] = [[event.step, event.histogram_value.num] for event in reader.Histograms(tag)]
    return {"metrics": metrics, "texts": texts, "histograms": counts}


def write_wandb(folder: Path) -> dict[str, object]:
    """Two offline runs of W&B, of which the second fails and the first is resumed."""
    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    import numpy as np
    import wandb

    quiet = wandb.Settings(
        x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True, x_save_requirements=False,
        disable_git=True, disable_code=True, save_code=False, console="off",
    )  # fmt: skip
    config = {"lr": 0.1, "model": {"depth": 3, "act": "relu"}, "dims": [1, 2]}
    for name, run_id, steps, code in (("one", "aaaa1111", range(10), 0), ("two", "bbbb2222", range(5), 1),
                                      ("one", "aaaa1111", range(10, STEPS), 0)):  # fmt: skip
        run = wandb.init(
            dir=folder, project="p", name=name, id=run_id, config=config, tags=["a", "b"], notes="words", settings=quiet
        )
        for step in steps:
            row: dict[str, object] = {**values(step), "large": step * 10**12, "inner": {"a": step, "b": {"c": -step}}}
            if step % 10 == 0:
                row["weights"] = wandb.Histogram(np.linspace(-1, 1 + step, 200))
                row["note"] = f"at {step}"
            run.log(row, step=step)
        run.config.update({"added": 7})
        run.summary["best"] = 0.99
        run.finish(exit_code=code)
    wandb.teardown()  # the files are whole when its service has ended
    return _wandb_records(folder)


def _wandb_records(folder: Path) -> dict[str, object]:
    """Read by wandb's own messages; its package has no reader of files."""
    from wandb.proto import wandb_internal_pb2 as messages

    runs: dict[str, dict[str, object]] = {}
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        metrics: dict[str, list[object]] = {}
        for raw in _leveldb_records(path.read_bytes()):
            record = messages.Record()
            record.ParseFromString(raw)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                name = record.run.display_name
                run = runs.setdefault(name, {"metrics": {}, "params": {}, "status": None, "run_id": record.run.run_id})
                metrics = run["metrics"]  # type: ignore[assignment]
                items = {item.key: json.loads(item.value_json) for item in record.run.config.update}
                run["params"] = {key: value for key, value in items.items() if key != "_wandb"}
            elif kind == "history":
                row = {
                    "/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item
                }
                for key, value in row.items():
                    if not key.startswith("_") and not isinstance(value, (str, list)):
                        metrics.setdefault(key, []).append([row["_step"], row["_timestamp"], value])
            elif kind == "exit":
                run["status"] = "failed" if record.exit.exit_code else "finished"
    return runs  # type: ignore[return-value]


def _leveldb_records(data: bytes) -> list[bytes]:
    import struct

    place, parts, found = 7, [], []
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        parts.append(data[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):
            found.append(b"".join(parts))
            parts = []
    return found


def write_mlflow(folder: Path) -> dict[str, object]:
    """Two runs in a SQLite store of MLflow."""
    return _write_mlflow(folder, f"sqlite:///{folder}/mlflow.db")


def write_mlflow_files(folder: Path) -> dict[str, object]:
    """The same in a folder of files."""
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    return _write_mlflow(folder, f"file://{folder}/mlruns")


def write_mlflow_server(folder: Path) -> dict[str, object]:
    """The same on the server whose address is in ``MLFLOW_TRACKING_URI``."""
    return _write_mlflow(folder, os.environ["MLFLOW_TRACKING_URI"])


def _write_mlflow(folder: Path, uri: str) -> dict[str, object]:
    os.chdir(folder)
    from mlflow.entities import Metric, Param, RunTag

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("trials", artifact_location="file:///nowhere")
    runs: dict[str, object] = {}
    for name, status in (("one", "FINISHED"), ("two", "FAILED")):
        run = client.create_run(experiment, run_name=name, start_time=1_700_000_000_000)
        params = [Param("lr", "0.1"), Param("model/depth", "3")]
        client.log_batch(run.info.run_id, params=params, tags=[RunTag("team", "a")])
        for step in range(STEPS):
            stamp = 1_700_000_000_000 + 1000 * step
            client.log_batch(run.info.run_id, [Metric(key, value, stamp, step) for key, value in values(step).items()])
        client.set_terminated(run.info.run_id, status, end_time=1_700_000_100_000)
        metrics = {
            key: [
                [point.step, point.timestamp / 1000, point.value]
                for point in client.get_metric_history(run.info.run_id, key)
            ]
            for key in values(0)
        }
        runs[name] = {
            "metrics": metrics,
            "params": client.get_run(run.info.run_id).data.params,
            "status": status.lower(),
            "run_id": run.info.run_id,
            "experiment": experiment,
        }
    client.delete_run(client.create_run(experiment, run_name="gone").info.run_id)
    return runs


WRITERS = {
    "tensorboardx": write_tensorboardx,
    "torch": write_torch,
    "tensorflow": write_tensorflow,
    "wandb": write_wandb,
    "mlflow": write_mlflow,
    "mlflow_files": write_mlflow_files,
    "mlflow_server": write_mlflow_server,
}


def _plain(value: object) -> object:
    """Write numbers that are not finite as text, which every reader of JSON takes."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    kind, place = sys.argv[1], Path(sys.argv[2]).resolve()
    place.mkdir(parents=True, exist_ok=True)
    (place / "expected.json").write_text(json.dumps({"runs": _plain(WRITERS[kind](place))}))
