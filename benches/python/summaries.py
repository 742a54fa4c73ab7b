"""The same summary by codex_obs and by its peers, each as its users would write it, where they are installed."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, TypedDict

import polars as pl

import codex_obs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS = ("run_id", "split", "metric")
STATISTICS = ("count", "min_value", "max_value", "mean_value", "first_value", "last_value", "last_step")
COLUMNS = (*KEYS, *STATISTICS)
# What the peers are told to read, and nothing else.
FIELDS = {"timestamp": str, "run_id": str, "step": int, "split": str, "metric": str, "value": float}


def shards(path: Path) -> list[Path]:
    """Give the files of the main stream, oldest first."""
    rotated = [(int(file.suffix[1:]), file) for file in path.glob("metrics.ndjson.*")]
    return [*(file for _, file in sorted(rotated, reverse=True)), path / "metrics.ndjson"]


def in_codex_obs(path: Path) -> pl.DataFrame:
    return codex_obs.summarize(path).select(COLUMNS)


def in_polars(path: Path) -> pl.DataFrame:
    types: dict[type, type[pl.DataType]] = {str: pl.String, int: pl.Int64, float: pl.Float64}
    schema = {name: types[kind] for name, kind in FIELDS.items()}
    rows = pl.concat([pl.scan_ndjson(shard, schema=schema) for shard in shards(path)])
    value, order = pl.col("value"), pl.struct("timestamp", "step")
    return (
        rows.group_by(KEYS)
        .agg(
            pl.len().cast(pl.Int64).alias("count"),
            value.min().alias("min_value"),
            value.max().alias("max_value"),
            value.mean().alias("mean_value"),
            value.sort_by(order).first().alias("first_value"),
            value.sort_by(order).last().alias("last_value"),
            pl.col("step").sort_by(order).last().alias("last_step"),
        )
        .collect(engine="streaming")
    )


def in_duckdb(path: Path) -> pl.DataFrame:
    import duckdb

    kinds = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE"}
    types = {name: kinds[kind] for name, kind in FIELDS.items()}
    query = f"""
        SELECT run_id, split, metric, count(*), min(value), max(value), avg(value), arg_min(value, (timestamp, step)),
               arg_max(value, (timestamp, step)), arg_max(step, (timestamp, step))
        FROM read_ndjson($names, columns = {types})
        GROUP BY ALL
    """
    with duckdb.connect() as connection:
        rows = connection.execute(query, {"names": [str(shard) for shard in shards(path)]}).fetchall()
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def in_pandas(path: Path) -> pl.DataFrame:
    import pandas as pd

    # Without the second option its floats differ from everyone else's in the last digit.
    frames = [pd.read_json(shard, lines=True, dtype=False, precise_float=True)[list(FIELDS)] for shard in shards(path)]
    rows = pd.concat(frames).sort_values(["timestamp", "step"], kind="stable")
    groups = rows.groupby(list(KEYS), sort=False)
    statistics = groups["value"].agg(["count", "min", "max", "mean", "first", "last"])
    table = statistics.join(groups["step"].last()).reset_index()
    return pl.DataFrame(table.to_numpy().tolist(), schema=COLUMNS, orient="row")


class _Group(TypedDict):
    count: int
    low: float
    high: float
    total: float
    first: tuple[str, int, float]
    last: tuple[str, int, float]


def in_orjson(path: Path) -> pl.DataFrame:
    import orjson

    groups: dict[tuple[str, str, str], _Group] = {}
    for shard in shards(path):
        with shard.open("rb") as lines:
            for line in lines:
                row = orjson.loads(line)
                value = row["value"]
                place = (row["timestamp"], row["step"], value)
                key = (row["run_id"], row["split"], row["metric"])
                group = groups.get(key)
                if group is None:
                    groups[key] = _Group(count=1, low=value, high=value, total=value, first=place, last=place)
                    continue
                group["count"] += 1
                group["total"] += value
                group["low"] = min(group["low"], value)
                group["high"] = max(group["high"], value)
                if place[:2] < group["first"][:2]:
                    group["first"] = place
                if place[:2] >= group["last"][:2]:
                    group["last"] = place
    rows = [
        (
            *key,
            group["count"],
            group["low"],
            group["high"],
            group["total"] / group["count"],
            group["first"][2],
            group["last"][2],
            group["last"][1],
        )
        for key, group in groups.items()
    ]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


_ALL: dict[str, Callable[[Path], pl.DataFrame]] = {
    "codex_obs": in_codex_obs,
    "duckdb": in_duckdb,
    "polars": in_polars,
    "pandas": in_pandas,
    "orjson": in_orjson,
}
SUBJECTS = {name: work for name, work in _ALL.items() if importlib.util.find_spec(name) is not None}


def assert_same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Check that two summaries agree: in all but the last digits of the mean, which depend on the order of adding."""
    one, other = found.sort(KEYS), expected.sort(KEYS)
    assert one.height == other.height > 0
    for name in COLUMNS:
        if name != "mean_value":
            assert one[name].to_list() == other[name].to_list(), name
    assert all(abs(a - b) <= 1e-9 * abs(b) for a, b in zip(one["mean_value"], other["mean_value"], strict=True))
