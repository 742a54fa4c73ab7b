"""A folder of runs as a table: how each run stands, what it was configured with, and how its metrics went."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

from codex_obs import _backend, _json
from codex_obs._moments import moment_text
from codex_obs._structure import config_series
from codex_obs._visible import visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from codex_obs._backend import Catalog

    Points = tuple[list[float | None], list[int | None]]

_MICROS = 1_000_000

_logger = logging.getLogger("codex_obs")

# What a metric has a column for, each followed by one for its step.
PARTS = ("last", "min", "max")
STATUSES = ("running", "finished", "failed", "killed", "crashed")


def runs(folder: str | os.PathLike[str] = "runs", *, metrics: Sequence[str] = ()) -> pl.DataFrame:
    """List the runs in a folder and below it, the newest first.

    What was read of a run that has ended is kept in its folder of internals, and used again for as long as the run's
    files look the same. Like every reader, this first recovers the rows of killed writers.

    Args:
        folder: Folder of runs, or one run.
        metrics: Metrics to show, as ``split/metric``, or by the name alone, which means the split ``train`` and where
            there is none the first split that has it.

    Returns:
        One row a run: ``path``, ``name``, ``run_id``, ``status`` (``running``, ``finished``, ``failed``, ``killed``,
        ``crashed``; null for a log without a record of its sessions), ``started`` (UTC), ``duration`` (from the start
        of the first session to the end of the last, or until now), ``last_step`` (the largest), ``rows``, ``config`` (a
        struct), and for each metric ``<metric>.last``, ``<metric>.last_step`` and the same of ``min`` and ``max``. A
        last value that was not finite is null; the smallest and largest are over finite values, with the step at which
        they came up first.

    Raises:
        CodexObsError: If there is no such folder, or it cannot be read.
    """
    catalog = list_runs(folder, metrics)
    metrics = list(dict.fromkeys(metrics))
    for path, why in catalog.problems:
        _logger.warning("codex_obs: %s: %s", visible(os.fspath(path)), visible(why))
    for name, (count, *_) in zip(metrics, catalog.metrics, strict=True):
        if not count and catalog.paths:
            _logger.warning("codex_obs: no run in %s has a metric %s", visible(os.fspath(folder)), visible(name))
    return to_frame(catalog, metrics)


def list_runs(folder: str | os.PathLike[str], metrics: Sequence[str], *, live_rows: bool = True) -> Catalog:
    """List the runs of a folder, column by column, with each of the metrics once.

    Args:
        folder: Folder of runs, or one run.
        metrics: Metrics to show.
        live_rows: Whether runs that are written now, which have to be read each time, are to have their rows and last
            step. They have them anyway if metrics are asked for.

    Raises:
        CodexObsError: If there is no such folder, or it cannot be read.
    """
    if isinstance(metrics, str):
        raise TypeError(f"metrics={metrics!r} is text: give a list of names, such as [{metrics!r}]")
    return _backend.list_runs(os.fspath(folder), list(dict.fromkeys(metrics)), live_rows=live_rows)


def to_frame(catalog: Catalog, metrics: Sequence[str]) -> pl.DataFrame:
    """Make a data frame of a catalog, the run that began last first."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    columns = [
        pl.Series("path", texts(catalog.paths), pl.String),
        pl.Series("name", catalog.names, pl.String),
        pl.Series("run_id", catalog.run_ids, pl.String),
        pl.Series("status", catalog.statuses, pl.String),
        pl.Series("started", catalog.started_micros, pl.Int64).cast(pl.Datetime("us", "UTC")),
        pl.Series("duration", durations_micros(catalog), pl.Int64).cast(pl.Duration("us")),
        pl.Series("last_step", catalog.last_steps, pl.Int64),
        pl.Series("rows", catalog.rows, pl.Int64),
        config_series("config", catalog.configs),
    ]
    for name, (_, *points) in zip(metrics, catalog.metrics, strict=True):
        for part, (values, steps) in zip(PARTS, points, strict=True):
            columns.append(pl.Series(f"{name}.{part}", values, pl.Float64))
            columns.append(pl.Series(f"{name}.{part}_step", steps, pl.Int64))
    return pl.DataFrame(columns).sort("started", "path", descending=[True, False], nulls_last=True)


def rows_of(catalog: Catalog, metrics: Mapping[str, tuple[Points, Points, Points]]) -> list[Mapping[str, object]]:
    """Give each run as the columns of `codex_obs.runs`, the one that began last first."""
    columns: dict[str, Sequence[object]] = {
        "path": catalog.paths,
        "name": catalog.names,
        "run_id": catalog.run_ids,
        "status": catalog.statuses,
        "started": catalog.started_micros,
        "duration": [None if micros is None else micros / _MICROS for micros in durations_micros(catalog)],
        "last_step": catalog.last_steps,
        "rows": catalog.rows,
        "config": [_json.loads(text) if text else None for text in catalog.configs],
    }
    for name, points in metrics.items():
        for part, (values, steps) in zip(PARTS, points, strict=True):
            columns[f"{name}.{part}"] = values
            columns[f"{name}.{part}_step"] = steps
    names = list(columns)
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    rows.sort(key=lambda row: (row["started"] is None, -(row["started"] or 0), row["path"]))
    for row in rows:
        row["started"] = None if row["started"] is None else moment_text(row["started"])
    return rows  # type: ignore[return-value]  # a list of dicts is one of mappings that nobody changes


def config_of(catalog: Catalog, place: int) -> dict[str, object]:
    """Give the parameters of one run."""
    config = _json.loads(catalog.configs[place] or "{}")
    return config if isinstance(config, dict) else {}


def durations_micros(catalog: Catalog) -> list[int | None]:
    """Give how long each run took, or has been running by now."""
    now = int(time.time() * 1e6)
    times = zip(catalog.started_micros, catalog.ended_micros, catalog.statuses, strict=True)
    return [
        None if start is None else max(end - start, 0) if end is not None else max(now - start, 0) if status else None
        for start, end, status in times
    ]


def texts(paths: Sequence[str]) -> list[str]:
    """Make texts of paths: bytes that are no UTF-8 are escaped, as Arrow data has no place for them."""
    return [path.encode(errors="surrogateescape").decode(errors="backslashreplace") for path in paths]
