"""Ways to leave the rows of a step in a file.

The peers do the least that leaves the same rows: a dict (or a struct) and a line per metric, one time stamp a call, a
buffered file that stays open. Nothing of theirs survives a kill before the buffer is flushed.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from codex_obs.testing import open_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from codex_obs.types import Fsync

SCHEMA = "https://codexml.ai/schemas/run_metrics.schema.json"
# Rows of earlier rounds are deleted before the disk has taken them, as the peers' are, or their way there would be
# timed.
SHARD_BYTES = 8 << 20
METRIC_NAMES = [f"train/metric_{index}" for index in range(32)]


class Logger(Protocol):
    file: Path
    log: Callable[..., None]

    def settle(self) -> None:
        """Get ready for a round: nothing of the last one waits."""

    def close(self) -> None: ...


def metrics_of(width: int) -> dict[str, float]:
    return {name: 0.1 + index / 7 for index, name in enumerate(METRIC_NAMES[:width])}


class Ours:
    def __init__(self, folder: Path, *, fsync: Fsync = "interval", backing: str = "mapped") -> None:
        self.run = open_run(
            folder, max_shard_bytes=SHARD_BYTES, backup_count=1, max_shard_age_s=None, fsync=fsync, backing=backing
        )
        self.file = self.run.path / "metrics.ndjson"
        self.log: Callable[..., None] = self.run.log

    def settle(self) -> None:
        assert self.run.flush()
        assert self.run.stats()["rows_dropped"] == 0

    def close(self) -> None:
        assert self.run.close(timeout=None)
        stats = self.run.stats()
        assert stats["rows_dropped"] == 0
        assert stats["rows_written"] == stats["rows_logged"]


class OpenFile:
    def __init__(self, path: Path, dumps: Callable[[object], bytes]) -> None:
        self.file = path
        self._open = path.open("wb")
        self._dumps = dumps
        self.log: Callable[..., None] = self._log

    def _log(self, metrics: dict[str, float], *, step: int) -> None:
        timestamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        for metric, value in metrics.items():
            row = {
                "$schema": SCHEMA,
                "schema_version": "v1",
                "timestamp": timestamp,
                "run_id": "bench",
                "step": step,
                "split": "train",
                "metric": metric,
                "value": value,
                "dataset": None,
                "tags": {},
            }
            self._open.write(self._dumps(row) + b"\n")

    def settle(self) -> None:
        # Empty again, so that no round waits for the disk to take the rows of an earlier one.
        self._open.seek(0)
        self._open.truncate()

    def close(self) -> None:
        self._open.close()


class Structs(OpenFile):
    def __init__(self, path: Path) -> None:
        import msgspec

        row = msgspec.defstruct(
            "Row",
            [
                ("timestamp", str),
                ("step", int),
                ("metric", str),
                ("value", float),
                ("schema", str, msgspec.field(default=SCHEMA, name="$schema")),
                ("schema_version", str, "v1"),
                ("run_id", str, "bench"),
                ("split", str, "train"),
                ("dataset", "str | None", None),
                ("tags", dict, msgspec.field(default_factory=dict)),
            ],
            gc=False,
        )
        super().__init__(path, msgspec.json.Encoder().encode)
        self._row = row
        self.log = self._log_structs

    def _log_structs(self, metrics: dict[str, float], *, step: int) -> None:
        timestamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        for metric, value in metrics.items():
            self._open.write(self._dumps(self._row(timestamp, step, metric, value)) + b"\n")


def _json(path: Path) -> OpenFile:
    encoder = json.JSONEncoder(separators=(",", ":"))
    return OpenFile(path, lambda row: encoder.encode(row).encode())


def _orjson(path: Path) -> OpenFile:
    import orjson

    return OpenFile(path, orjson.dumps)


FILE_WRITERS: dict[str, Callable[[Path], Logger]] = {"orjson": _orjson, "msgspec": Structs, "json": _json}
# Calls of 8 metrics in a round. Rounds of all subjects take about as long: on a busy machine, longer ones are
# interrupted more often.
CALLS_A_ROUND = {"codex_obs": 3_000, "floor": 3_000, "orjson": 120, "msgspec": 150, "json": 30}


def is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of a parent package
        return False


def open_file_writer(subject: str, folder: Path) -> Logger:
    """Open a peer in a folder, after checking that it leaves the rows that it will be timed with."""
    for width in (1, 8):
        checked = FILE_WRITERS[subject](folder / f"{subject}-check-{width}.ndjson")
        check(checked, metrics_of(width))
    return FILE_WRITERS[subject](folder / f"{subject}.ndjson")


def open_ours(folder: Path, *, backing: str = "mapped") -> Ours:
    """Open a run of ours beside others, after checking that it leaves the rows that it will be timed with."""
    check(Ours(folder / "codex_obs-check", backing=backing), metrics_of(8))
    return Ours(folder / "codex_obs", fsync="never", backing=backing)


def check(logger: Logger, metrics: dict[str, float]) -> None:
    """Log three steps, close, and compare what is there."""
    for step in range(3):
        logger.log(metrics, step=step)
    logger.close()
    rows = [json.loads(line) for line in logger.file.read_text().splitlines()]
    assert [(row["step"], row["split"], row["metric"], row["value"], row["tags"]) for row in rows] == [
        (step, "train", name, value, {}) for step in range(3) for name, value in metrics.items()
    ]
    assert len({(row["run_id"], row["$schema"]) for row in rows}) == 1
