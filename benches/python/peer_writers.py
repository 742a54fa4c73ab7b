"""Write the same scalars as another tool does, and print rows and processor seconds; run where that tool is installed.

Usage: peer_writers.py tensorboardX|tensorboard|wandb FOLDER STEPS
"""

import json
import os
import sys
import time
from pathlib import Path

METRICS = {f"train/metric_{number}": number / 7 for number in range(8)}


def tensorboardX(folder: Path, steps: int) -> None:  # noqa: N802 - its name
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(str(folder))
    for step in range(steps):
        for name, value in METRICS.items():
            writer.add_scalar(name, value, step)
    writer.close()


def tensorboard(folder: Path, steps: int) -> None:
    """Write as torch's writer does, which hands its events to this one."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for step in range(steps):
        for name, value in METRICS.items():
            summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
            writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
    writer.close()


def wandb(folder: Path, steps: int) -> None:
    os.environ |= {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
    import wandb

    run = wandb.init(mode="offline", dir=str(folder), project="bench")
    for step in range(steps):
        run.log({**METRICS, "codex/step": step})
    run.finish()


def main() -> None:
    tool, folder, steps = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    write = {"tensorboardX": tensorboardX, "tensorboard": tensorboard, "wandb": wandb}[tool]
    # What is imported at the first row is no cost of a row; what its own processes do is.
    write(folder / "first", 1)
    before = os.times()
    write(folder / "all", steps)
    after = os.times()
    spent = sum(getattr(after, part) - getattr(before, part) for part in ("user", "system", "children_user"))
    written = sum(path.stat().st_size for path in (folder / "all").rglob("*") if path.is_file())
    json.dump({"rows": steps * len(METRICS), "cpu_s": spent, "bytes": written}, sys.stdout)


if __name__ == "__main__":
    main()
