"""Summarising a run of several shards, beside the nearest query in Polars and in DuckDB, which knows no rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pytest

import codex_obs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from conftest import Figures

METRICS = 8
STEPS = 50_000
MAX_SHARD_BYTES = 16 << 20
KEYS = ("run_id", "split", "metric")
COLUMNS = (*KEYS, "count", "min_value", "max_value", "mean_value", "last_value")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the rows once; their number is that of the steps times that of the metrics."""
    path = tmp_path_factory.mktemp("summary") / "run"
    with codex_obs.init(path, run_id="bench", max_shard_bytes=MAX_SHARD_BYTES, backup_count="all") as run:
        for step in range(STEPS):
            run.log({f"metric_{index}": step / (index + 1) for index in range(METRICS)}, step=step)
    return path


def ours(path: Path) -> pl.DataFrame:
    return codex_obs.summarize(path).select(COLUMNS)


def in_polars(path: Path) -> pl.DataFrame:
    schema = dict.fromkeys(("timestamp", *KEYS), pl.String) | {"step": pl.Int64, "value": pl.Float64}
    rows = pl.concat([pl.scan_ndjson(shard, schema=schema) for shard in shards(path)])
    value = pl.col("value")
    return (
        rows.group_by(KEYS)
        .agg(
            pl.len().cast(pl.Int64).alias("count"),
            value.min().alias("min_value"),
            value.max().alias("max_value"),
            value.mean().alias("mean_value"),
            value.sort_by("timestamp", "step", maintain_order=True).last().alias("last_value"),
        )
        .collect()
    )


def in_duckdb(path: Path) -> pl.DataFrame:
    names = [str(shard) for shard in shards(path)]
    types = dict.fromkeys(("timestamp", *KEYS), "VARCHAR") | {"step": "BIGINT", "value": "DOUBLE"}
    query = f"""
        SELECT run_id, split, metric, count(*) AS count, min(value) AS min_value, max(value) AS max_value,
               avg(value) AS mean_value, arg_max(value, (timestamp, step)) AS last_value
        FROM read_json($names, format = 'newline_delimited', columns = {types})
        GROUP BY ALL
    """
    with duckdb.connect() as connection:
        return pl.DataFrame(connection.execute(query, {"names": names}).fetchall(), schema=COLUMNS, orient="row")


def shards(path: Path) -> list[Path]:
    """Give the files of the main stream, oldest first."""
    rotated = [(int(file.suffix[1:]), file) for file in path.glob("metrics.ndjson.*")]
    return [*(file for _, file in sorted(rotated, reverse=True)), path / "metrics.ndjson"]


SUBJECTS: dict[str, Callable[[Path], pl.DataFrame]] = {"codex_obs": ours, "polars": in_polars, "duckdb": in_duckdb}


def expected() -> pl.DataFrame:
    last = STEPS - 1
    rows = [
        (
            "bench",
            "train",
            f"metric_{index}",
            STEPS,
            0.0,
            last / (index + 1),
            last / 2 / (index + 1),
            last / (index + 1),
        )
        for index in range(METRICS)
    ]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


@pytest.mark.parametrize("subject", SUBJECTS)
def test_summary(benchmark: BenchmarkFixture, figures: Figures, run: Path, subject: str) -> None:
    summarise = SUBJECTS[subject]
    found = summarise(run).sort("metric")
    assert found.drop("mean_value").equals(expected().drop("mean_value"))
    assert (found["mean_value"] - expected()["mean_value"]).abs().max() < 1e-6

    megabytes = sum(shard.stat().st_size for shard in shards(run)) / 1e6
    benchmark.group = f"{STEPS * METRICS} rows, {megabytes:.0f} MB, {len(shards(run))} shards"
    benchmark.pedantic(summarise, args=(run,), rounds=7, warmup_rounds=1)
    seconds = benchmark.stats.stats.median
    figures.add(f"summarise {STEPS * METRICS} rows", subject, seconds)
    if subject == "codex_obs":
        figures.notes.append(
            f"summarising: {megabytes / 1e3 / seconds:.2f} GB/s, {STEPS * METRICS / seconds / 1e6:.1f} M rows/s"
        )
