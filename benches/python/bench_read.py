"""Reading every row of a run into a Polars frame, beside Polars itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import polars as pl
import pytest

import codex_obs
from race import race, replayed, report, timed
from summaries import FIELDS, shards

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from conftest import Figures

ROUNDS = 3
COMPARISON = "read 1 GB into a frame"
TYPES: dict[type, type[pl.DataType]] = {str: pl.String, int: pl.Int64, float: pl.Float64}


def in_codex_obs(path: Path) -> pl.DataFrame:
    return codex_obs.read(path)


def in_polars(path: Path) -> pl.DataFrame:
    return pl.concat([pl.read_ndjson(shard) for shard in shards(path)])


def in_polars_with_schema(path: Path) -> pl.DataFrame:
    schema = {name: TYPES[kind] for name, kind in FIELDS.items()}
    return pl.concat([pl.read_ndjson(shard, schema=schema) for shard in shards(path)])


SUBJECTS: dict[str, Callable[[Path], pl.DataFrame]] = {
    "codex_obs": in_codex_obs,
    "polars": in_polars,
    "polars, given columns": in_polars_with_schema,
}


@pytest.fixture(scope="module")
def measured() -> dict[str, list[float]]:
    """Keep what was measured for the tests that show it, one a subject."""
    return {}


@replayed
@pytest.mark.parametrize("subject", SUBJECTS)
def test_read(
    benchmark: BenchmarkFixture,
    figures: Figures,
    measured: dict[str, list[float]],
    gigabyte: tuple[Path, int],
    subject: str,
) -> None:
    if not measured:
        measured.update(seconds(*gigabyte))
    figures.allow(COMPARISON, "polars", 1 / 3)
    report(benchmark, figures, COMPARISON, subject, measured[subject])


def seconds(path: Path, rows: int) -> dict[str, list[float]]:
    """Check that all subjects find the same rows, and time them in turns."""
    expected = None
    for work in SUBJECTS.values():
        found = digest(work(path))
        assert found["rows"] == [rows]
        expected = expected or found
        assert found == expected
    rounds_of = {name: timed(1, partial(work, path), lambda: None) for name, work in SUBJECTS.items()}
    return race(rounds_of, rounds=ROUNDS)


def digest(frame: pl.DataFrame) -> dict[str, list[object]]:
    """Give numbers that differ if a row is missing, doubled or changed, in any order of the rows."""
    row = pl.struct("run_id", "step", "split", "metric", "value")
    texts = pl.col("run_id", "split", "metric").cast(pl.String)
    return (
        frame.with_columns(texts)
        .select(pl.len().alias("rows"), row.hash().sum().alias("hashes"))
        .to_dict(as_series=False)
    )
