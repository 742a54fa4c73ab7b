"""The files that a run writes for TensorBoard and W&B."""

from __future__ import annotations

import struct
from pathlib import Path

EVENTS = Path("tensorboard", "events.out.tfevents.0.codex_obs")


def events_in(path: Path) -> int:
    """Count the whole records of an event file; a torn one is an error."""
    data, place, count = path.read_bytes(), 0, 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        place += 12 + length + 4
        count += 1
    assert place == len(data), "no record is torn"
    return count


def offline_files(run_dir: Path) -> list[Path]:
    """Give the files of the offline runs."""
    return sorted(run_dir.glob("wandb/offline-run-*/run-*.wandb"))


def written(run_dir: Path) -> dict[str, bytes]:
    """Give the bytes of all of them."""
    files = [run_dir / EVENTS, *offline_files(run_dir)]
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in files}
