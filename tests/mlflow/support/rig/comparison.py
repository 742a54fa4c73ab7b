"""What the server has, held against what is in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

import codex_obs
from rig.rest import SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

# A column of a database has no infinities: MLflow stores the largest double.
_LARGEST = 1.7976931348623157e308


def expected_points(directory: Path, streams: dict[str, str] | None = None) -> pl.DataFrame:
    """Give the points that a run directory should have become, by stream and the prefix of its keys.

    Two rows with one name, millisecond, step and value are one point.
    """
    rows = codex_obs.read(directory).with_columns(pl.col("stream", "split", "metric", "nonfinite").cast(pl.String))
    prefixes = {"main": ""} if streams is None else streams
    nonfinite = {"NaN": float("nan"), "Infinity": _LARGEST, "-Infinity": -_LARGEST}
    return (
        rows.filter(pl.col("stream").is_in(list(prefixes)), pl.col("step").is_not_null())
        .with_columns(
            value=pl.coalesce("value", pl.col("nonfinite").replace_strict(nonfinite, default=None)),
            key=pl.col("stream").replace(prefixes) + pl.col("split") + "/" + pl.col("metric"),
            timestamp_ms=pl.col("timestamp").dt.epoch("us") // 1000,
        )
        .filter(pl.col("value").is_not_null())
        .select(*SCHEMA)
        .unique()
    )


def differences(stored: pl.DataFrame, expected: pl.DataFrame) -> dict[str, int]:
    """Count what is missing at the server, what is there twice, and what nobody sent."""
    # A sum with zero makes one of the two zeros: SQLite does not keep their signs.
    stored, expected = (frame.with_columns(pl.col("value") + 0.0) for frame in (stored, expected))
    return {
        "missing": expected.join(stored, on=list(SCHEMA), how="anti").height,
        "doubled": stored.height - stored.unique().height,
        "foreign": stored.join(expected, on=list(SCHEMA), how="anti").height,
    }


NONE = {"missing": 0, "doubled": 0, "foreign": 0}
