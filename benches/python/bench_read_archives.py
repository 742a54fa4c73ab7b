"""Reading a run whose shards are packed, beside Polars and DuckDB on the same rows in plain files.

All do the same job: every row, with the columns of `read` that rows have; times as times, names as categories.
Polars leaves the tags out: it has no type for an object that may have any members.
"""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING

import polars as pl
import pytest

import codex_obs
from race import race, replayed, report, timed
from summaries import assert_same, shards
from summaries import in_codex_obs as summary_in_codex_obs
from summaries import in_duckdb as summary_in_duckdb
from summaries import in_polars as summary_in_polars

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from conftest import Figures

    Seconds = dict[str, dict[str, list[float]]]

ROUNDS = 3
READ = "read archives of 1 GB, beside plain files"
SUMMARY = "summary of archives of 1 GB, beside plain files"
NAMES = ("run_id", "split", "metric", "dataset")
SCHEMA = {
    "timestamp": pl.String,
    "run_id": pl.String,
    "step": pl.Int64,
    "split": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "dataset": pl.String,
}
KINDS = {"timestamp": "TIMESTAMP", "step": "BIGINT", "value": "DOUBLE"}
TYPES = {name: KINDS.get(name, "VARCHAR") for name in (*SCHEMA, "tags")}


def typed(rows: pl.LazyFrame) -> pl.LazyFrame:
    time = pl.col("timestamp").str.to_datetime(time_unit="us", time_zone="UTC")
    return rows.with_columns(time, pl.col(NAMES).cast(pl.Categorical)).sort("timestamp", "step", maintain_order=True)


def in_polars(path: Path) -> pl.DataFrame:
    return typed(pl.concat([pl.read_ndjson(shard, schema=SCHEMA) for shard in shards(path)]).lazy()).collect()


def in_polars_lazily(path: Path) -> pl.DataFrame:
    return typed(pl.scan_ndjson(shards(path), schema=SCHEMA)).collect()


def in_duckdb(path: Path) -> pl.DataFrame:
    import duckdb

    names = [str(shard) for shard in shards(path)]
    query = f"SELECT * FROM read_ndjson({names}, columns = {TYPES}) ORDER BY timestamp, step"
    with duckdb.connect() as connection:
        return connection.sql(query).pl()


@pytest.fixture(scope="module")
def seconds() -> Seconds:
    """Keep what was measured for the tests that show it, one a subject."""
    return {}


@pytest.fixture(scope="module")
def both(gigabyte: tuple[Path, int], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """Pack a copy of the log; give the packed run, the plain one and the number of rows."""
    plain, rows = gigabyte
    packed = tmp_path_factory.mktemp("packed") / "run"
    packed.mkdir()
    for shard in shards(plain):
        shutil.copyfile(shard, packed / shard.name)
    # What an earlier session left is packed by the next one; a close without a limit waits for it.
    codex_obs.init(packed, max_shard_bytes=None, max_shard_age_s=None, backup_count=1).close(None)
    assert len(list(packed.glob("*.archive-*.zst"))) == len(shards(plain)) - 2
    return packed, plain, rows


@replayed
@pytest.mark.parametrize("subject", ["codex_obs", "polars", "polars, lazily", "duckdb"])
def test_read(
    benchmark: BenchmarkFixture, figures: Figures, both: tuple[Path, Path, int], seconds: Seconds, subject: str
) -> None:
    packed, plain, rows = both
    works: dict[str, Callable[[], pl.DataFrame]] = {
        "codex_obs": partial(codex_obs.read, packed),
        "polars": partial(in_polars, plain),
        "polars, lazily": partial(in_polars_lazily, plain),
        "duckdb": partial(in_duckdb, plain),
    }
    if READ not in seconds:
        for work in works.values():
            assert digest(work()) == digest(works["codex_obs"]())
        assert works["codex_obs"]().height == rows
        seconds[READ] = race({name: timed(1, work, lambda: None) for name, work in works.items()}, rounds=ROUNDS)
    for peer in ("polars", "polars, lazily", "duckdb"):
        figures.allow(READ, peer, 0.5)
    report(benchmark, figures, READ, subject, seconds[READ][subject])


@replayed
@pytest.mark.parametrize("subject", ["codex_obs", "polars", "duckdb"])
def test_summarize(
    benchmark: BenchmarkFixture, figures: Figures, both: tuple[Path, Path, int], seconds: Seconds, subject: str
) -> None:
    packed, plain, _ = both
    works: dict[str, Callable[[], pl.DataFrame]] = {
        "codex_obs": partial(summary_in_codex_obs, packed),
        "polars": partial(summary_in_polars, plain),
        "duckdb": partial(summary_in_duckdb, plain),
    }
    if SUMMARY not in seconds:
        for work in works.values():
            assert_same(work(), works["codex_obs"]())
        seconds[SUMMARY] = race({name: timed(1, work, lambda: None) for name, work in works.items()}, rounds=ROUNDS)
    for peer in ("polars", "duckdb"):
        figures.allow(SUMMARY, peer, 0.5)
    report(benchmark, figures, SUMMARY, subject, seconds[SUMMARY][subject])


def digest(frame: pl.DataFrame) -> dict[str, list[object]]:
    """Give numbers that differ if a row is missing, doubled or changed, in any order of the rows."""
    row = pl.struct("run_id", pl.col("timestamp").dt.timestamp("us"), "step", "split", "metric", "value")
    texts = frame.with_columns(pl.col("run_id", "split", "metric").cast(pl.String))
    return texts.select(pl.len().alias("rows"), row.hash().sum().alias("hashes")).to_dict(as_series=False)
