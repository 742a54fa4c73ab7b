"""What a call of `Run.log` costs the training loop, beside encoding rows in Python and writing them to an open file.

The peers do the least that leaves the same rows: a dict and a line per metric, one time stamp a call, a buffered file
that stays open. Nothing of theirs survives a kill before the buffer is flushed.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

import orjson
import pytest

from codex_obs.testing import open_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from codex_obs.types import Fsync
    from conftest import Figures

Backing: TypeAlias = Literal["mapped", "mirrored"]

SUBJECTS = ("codex_obs", "orjson", "json")
# Calls between two flushes of ours: at 32 floats they fill half of the ring.
CALLS_A_ROUND = 4_000
ROUNDS = 10
SINGLE_CALLS = 20_000
CALLS_UNTIL_CLOSED = 50_000


class Ours:
    def __init__(self, folder: Path, *, fsync: Fsync, backing: Backing) -> None:
        self.run = open_run(folder, max_shard_bytes=None, max_shard_age_s=None, fsync=fsync, backing=backing)
        self.file = self.run.path / "metrics.ndjson"
        self.log: Callable[..., None] = self.run.log

    def settle(self) -> None:
        assert self.run.flush()

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

    def log(self, metrics: dict[str, float], *, step: int) -> None:
        timestamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        for metric, value in metrics.items():
            row = {
                "$schema": "https://codexml.ai/schemas/run_metrics.schema.json",
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


def open_logger(
    subject: str, folder: Path, *, fsync: Fsync = "interval", backing: Backing = "mapped"
) -> Ours | OpenFile:
    if subject == "codex_obs":
        return Ours(folder / "run", fsync=fsync, backing=backing)
    encoder = json.JSONEncoder(separators=(",", ":"))
    dumps = orjson.dumps if subject == "orjson" else lambda row: encoder.encode(row).encode()
    return OpenFile(folder / f"{subject}.ndjson", dumps)


def metrics_of(width: int) -> dict[str, float]:
    return {f"train/metric_{index}": 0.1 + index / 7 for index in range(width)}


def assert_logs(subject: str, folder: Path, metrics: dict[str, float]) -> None:
    """Check that the subject leaves the rows that it will be timed with."""
    folder.mkdir()
    logger = open_logger(subject, folder)
    for step in range(3):
        logger.log(metrics, step=step)
    logger.close()
    rows = [json.loads(line) for line in logger.file.read_text().splitlines()]
    assert [(row["step"], row["metric"], row["value"]) for row in rows] == [
        (step, name, value) for step in range(3) for name, value in metrics.items()
    ]
    assert len({row["run_id"] for row in rows}) == 1


@pytest.fixture
def backing() -> Backing:
    return "mapped"


@pytest.fixture
def logger(subject: str, width: int, backing: Backing, tmp_path: Path) -> Iterator[Ours | OpenFile]:
    assert_logs(subject, tmp_path / "check", metrics_of(width))
    logger = open_logger(subject, tmp_path, backing=backing)
    yield logger
    logger.close()


def seconds_a_call(benchmark: BenchmarkFixture, logger: Ours | OpenFile, metrics: dict[str, float]) -> float:
    log = logger.log

    def calls() -> None:
        for step in range(CALLS_A_ROUND):
            log(metrics, step=step)

    benchmark.pedantic(calls, setup=logger.settle, rounds=ROUNDS, warmup_rounds=1)
    return float(benchmark.stats.stats.median) / CALLS_A_ROUND


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("width", [1, 8, 32])
def test_calls_in_a_tight_loop(
    benchmark: BenchmarkFixture, figures: Figures, logger: Ours | OpenFile, subject: str, width: int
) -> None:
    comparison = f"log, {width} floats"
    benchmark.group = f"{CALLS_A_ROUND} calls, {width} floats"
    figures.add(comparison, subject, seconds_a_call(benchmark, logger, metrics_of(width)))
    if width == 8:
        figures.allow(comparison, "orjson", 0.08)
    figures.notes.append("journal: mapped, but where the line says pwrite")


@pytest.mark.parametrize("subject", SUBJECTS[:2])
@pytest.mark.parametrize("backing", ["mirrored"])
@pytest.mark.parametrize("width", [8])
def test_calls_with_a_system_call_each(
    benchmark: BenchmarkFixture, figures: Figures, logger: Ours | OpenFile, subject: str, width: int
) -> None:
    comparison = f"log, {width} floats, pwrite"
    benchmark.group = f"{CALLS_A_ROUND} calls, {width} floats, pwrite"
    figures.add(comparison, subject, seconds_a_call(benchmark, logger, metrics_of(width)))
    figures.allow(comparison, "orjson", 0.3)


@pytest.mark.parametrize("subject", SUBJECTS[:2])
@pytest.mark.parametrize("width", [8])
def test_the_slowest_call_of_a_thousand(
    benchmark: BenchmarkFixture, figures: Figures, logger: Ours | OpenFile, subject: str, width: int
) -> None:
    metrics = metrics_of(width)
    benchmark.group = f"single calls, {width} floats"
    benchmark.pedantic(
        logger.log, args=(metrics,), kwargs={"step": 1}, rounds=SINGLE_CALLS, iterations=1, warmup_rounds=100
    )
    times = benchmark.stats.stats.sorted_data
    comparison = f"log, {width} floats, 99.9 %"
    figures.add(comparison, subject, times[int(len(times) * 0.999)])
    figures.allow(comparison, "orjson", 0.05)


@pytest.mark.parametrize("subject", SUBJECTS[:2])
@pytest.mark.parametrize("width", [8])
def test_rows_until_closed(
    benchmark: BenchmarkFixture, figures: Figures, subject: str, width: int, tmp_path: Path
) -> None:
    metrics = metrics_of(width)
    assert_logs(subject, tmp_path / "check", metrics)
    folder = tmp_path / "timed"

    def fresh() -> tuple[tuple[Ours | OpenFile], dict[str, object]]:
        # Without the rows of the round before: their way to the disk would be timed.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        # `close` forces the rest to the disk, which the peer never does and which would time the disk.
        return (open_logger(subject, folder, fsync="never"),), {}

    def calls(logger: Ours | OpenFile) -> None:
        for step in range(CALLS_UNTIL_CLOSED):
            logger.log(metrics, step=step)
        logger.close()

    benchmark.group = f"{CALLS_UNTIL_CLOSED} calls and close, {width} floats"
    benchmark.pedantic(calls, setup=fresh, rounds=5)
    comparison = f"{CALLS_UNTIL_CLOSED * width} rows until closed"
    figures.add(comparison, subject, benchmark.stats.stats.median)
    figures.allow(comparison, "orjson", 0.25)
