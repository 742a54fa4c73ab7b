"""What we write is read by others: the summary by Polars, DuckDB and pandas, the log by Polars, DuckDB and jq."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import duckdb
import pandas as pd
import polars as pl
import pytest

import codex_obs
from codex_obs import reading
from codex_obs.commands import _output

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["loss", "a,b", 'say "hi"', "line\nbreak", "naïve ✓", "tab\there", "'quoted'"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Log a run with names that need care in every format."""
    directory = tmp_path / "run"
    with codex_obs.init(directory) as run:
        for step in range(3):
            metrics = {name: 1.5 * step + index for index, name in enumerate(NAMES)}
            run.log(metrics, step=step, tags={"phase": "eval"})
        run.log({"gone": float("nan"), "shape": {"a": [1, 2]}, "last": -0.25}, dataset="digits")
    return directory


@pytest.fixture
def frame(log: Path) -> pl.DataFrame:
    """Give the summary, in order of metrics."""
    return reading.summarize(log).sort("metric")


def test_parquet(frame: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "summary.parquet"
    path.write_bytes(_output.to_parquet(frame))
    assert pl.read_parquet(path).equals(frame)
    # As microseconds, because DuckDB needs another package to give a time with a zone to Python.
    times = "epoch_us(first_timestamp) AS first_timestamp, epoch_us(last_timestamp) AS last_timestamp"
    read = duckdb.connect().execute(f"SELECT * REPLACE ({times}) FROM '{path}' ORDER BY encode(metric)")
    assert [column[0] for column in read.description or []] == frame.columns
    assert read.fetchall() == frame.with_columns(pl.col(pl.Datetime("us", "UTC")).to_physical()).rows()
    pandas = pd.read_parquet(path)
    assert list(pandas.columns) == frame.columns
    assert pandas["metric"].tolist() == frame["metric"].to_list()
    assert pandas["first_timestamp"].dt.tz is not None
    assert pandas["first_timestamp"].tolist() == frame["first_timestamp"].to_list()
    assert pandas["count"].tolist() == frame["count"].to_list()


def test_csv(frame: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    path.write_bytes(_output.to_csv(frame))
    # What a spreadsheet would take for a formula, or for text that is quoted, begins with one more quote.
    shown = [f"'{name}" if name[:1] in tuple("=+-@'\t\r\n") else name for name in frame["metric"]]
    rows = frame.select("count", "mean_value", "last_value").rows()
    expected = [(name, *row) for name, row in zip(shown, rows, strict=True)]
    columns = ["metric", "count", "mean_value", "last_value"]
    assert pl.read_csv(path).select(columns).rows() == expected
    read = duckdb.connect().execute(f"SELECT {', '.join(columns)} FROM read_csv('{path}')").fetchall()
    assert read == expected
    pandas = pd.read_csv(path)[columns].astype(object)
    assert list(pandas.where(pandas.notna(), None).itertuples(index=False, name=None)) == expected
    assert pl.read_csv(path, try_parse_dates=True)["first_timestamp"].to_list() == frame["first_timestamp"].to_list()


def test_ndjson_in_polars_and_duckdb(log: Path) -> None:
    path = log / "metrics.ndjson"
    expected = [(row["step"], row["metric"], row["value"]) for row in map(json.loads, path.read_text().splitlines())]
    assert pl.read_ndjson(path).select("step", "metric", "value").rows() == expected
    read = duckdb.connect().execute(f"SELECT step, metric, value FROM read_ndjson('{path}')").fetchall()
    assert read == expected
    ours = reading.read(log).select("step", pl.col("metric").cast(pl.String), "value").rows()
    assert ours == expected


@pytest.mark.debian
def test_ndjson_in_jq(log: Path) -> None:
    for name in ("metrics.ndjson", "metrics_manifest.ndjson", "params.ndjson", "run.ndjson"):
        path = log / name
        read = subprocess.run(["jq", "-c", ".", path], capture_output=True, check=True)
        assert [json.loads(line) for line in read.stdout.splitlines()] == [
            json.loads(line) for line in path.read_text().splitlines()
        ]
