"""Reading runs back: every row, lazily or at once, every structured value, or one summary row per metric.

The work is done by the extension, which scans the shards of every stream on all cores and hands its result over as
Arrow data. Polars is imported when the first of these functions is called.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from codex_obs import _backend
from codex_obs._remarks import sentences
from codex_obs._visible import visible
from codex_obs.errors import NoLogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import polars as pl

    from codex_obs._backend import ArrowStream, Report
    from codex_obs.types import HasPath, RunPath, Runs


_logger = logging.getLogger("codex_obs")

# Columns of `read` and `scan`. Texts with few distinct values are Categorical: one number a row instead of one string.
_CATEGORICAL_COLUMNS = ("stream", "run_id", "split", "metric", "dataset", "nonfinite", "phase")
_ROW_COLUMNS = (
    "stream",
    "run_id",
    "timestamp",
    "step",
    "split",
    "metric",
    "value",
    "dataset",
    "nonfinite",
    "manifest_id",
    "phase",
    "tags",
    "session",
)
# Those of `payloads`.
_PAYLOAD_COLUMNS = (
    "stream",
    "run_id",
    "timestamp",
    "step",
    "split",
    "metric",
    "dataset",
    "manifest_id",
    "type",
    "shape",
    "payload",
    "path",
    "truncated_bytes",
    "version",
)
# How long an open run that is read may take to write what it has logged.
_FLUSH_S = 2.0


def summarize(path: Runs, *, superseded: bool = False) -> pl.DataFrame:
    """Summarise runs: one row for each run id, split, metric and dataset.

    Args:
        path: A run directory, a `Run` (an open one is flushed first), an NDJSON file of a run, or a list of them.
        superseded: Whether rows that a later session replaced (`rewind_to`) count too. A file by itself, without its
            run directory, does not say which they are.

    Returns:
        The table that ``codex-ndjson summarize`` writes, in order of ``first_timestamp`` (null first). Columns and
        types do not depend on the data; a run without rows gives an empty table.

    Raises:
        CodexObsError: If there is no run log at `path`, or it cannot be read.
    """
    paths = _paths(path)
    frame, report = summarize_files(paths, superseded=superseded)
    _warn(paths, report)
    return frame


def read(path: Runs, *, superseded: bool = False) -> pl.DataFrame:
    """Read every row of all streams of the runs, oldest first.

    Args:
        path: A run directory, a `Run` (an open one is flushed first), an NDJSON file of a run, or a list of them.
        superseded: Whether to give rows that a later session replaced (`rewind_to`) too.

    Returns:
        One row per metric value, by (timestamp, step, position in the files); a missing timestamp or step comes
        first. ``tags`` is JSON text, ``timestamp`` is UTC in microseconds. ``session`` is the
        number of the session of the stream that wrote the row, from 0; null where that is unknown.

    Raises:
        CodexObsError: If there is no run log at `path`, or it cannot be read.
    """
    columns = _rows(_paths(path), superseded=superseded).get_columns()
    return _in_order(columns)


def scan(path: Runs, *, superseded: bool = False) -> pl.LazyFrame:
    """Read runs lazily: like `read`, but the files are opened when the frame is collected.

    Args:
        path: A run directory, a `Run` (an open one is flushed first), an NDJSON file of a run, or a list of them.
        superseded: Whether to give rows that a later session replaced (`rewind_to`) too.

    Returns:
        A lazy frame with the columns and the order of `read`. Filters and column choices are applied before sorting.
        Each collection reads the files anew.
    """
    from polars.io.plugins import register_io_source  # noqa: PLC0415 - polars is loaded on first use

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        frame = _rows(_paths(path), superseded=superseded)
        if predicate is not None:
            frame = frame.filter(predicate)
        if n_rows is not None:
            frame = frame.head(n_rows)
        yield frame if with_columns is None else frame.select(with_columns)

    return _oldest_first(register_io_source(source, schema=_row_schema()))


def payloads(path: Runs) -> pl.DataFrame:
    """Read every structured value of all streams of the runs, oldest first: histograms, texts, arrays, mappings.

    Rows refer to them by `manifest_id`: ``rows.join(payloads, on="manifest_id")``.

    Args:
        path: A run directory, a `Run` (an open one is flushed first), a manifest file of a run, or a list of them.

    Returns:
        One row per structured value, with the columns ``stream``, ``run_id``, ``timestamp``, ``step``, ``split``,
        ``metric``, ``dataset``, ``manifest_id``, ``type`` (name of the value's class), ``shape`` (list of Int64, null
        for what has none), ``payload`` (the value as JSON text, null if it was too long), ``path``,
        ``truncated_bytes`` and ``version``. Values whose rows a later session replaced (`rewind_to`) are among them.

    Raises:
        CodexObsError: If there is no run at `path`, or it cannot be read.
    """
    paths = _paths(path)
    columns = _frame(paths, _backend.read_payloads(paths), _payload_schema(), noun="structured value").get_columns()
    return _in_order(columns)


def read_telemetry(path: Runs) -> pl.DataFrame:
    """Read the spans and events of runs: `codex_obs.telemetry.read`, which says more.

    Raises:
        CodexObsError: If there is no run at `path`, or it cannot be read.
    """
    from codex_obs import _spans_read  # noqa: PLC0415 - loads polars, on first use

    paths, problems = _paths(path), list[str]()
    pages = _backend.page_lines(paths, "telemetry", problems)
    frame = _spans_read.frame(((stream, line) for stream, page in pages for line in page.splitlines()), problems)
    for problem in problems:
        _logger.warning("codex_obs: %s: %s", visible(", ".join(paths)), visible(problem))
    return frame


def recover(path: Runs, *, foreign: bool = False) -> dict[str, int]:
    """Bring back the rows that dead writers of runs left in their journals.

    Readers and `init` do this by themselves; calling it is only needed to have the files complete on disk.

    Args:
        path: A run directory, or a list of them.
        foreign: Also take over journals written on another machine. Only right if no writer is alive there.

    Returns:
        What was found and brought back, as counters; of several runs the sums.

    Raises:
        CodexObsError: If there is no run at `path`, or its files cannot be written.
    """
    found: dict[str, int] = {}
    for directory in _paths(path):
        for name, count in _backend.recover(directory, foreign=foreign).items():
            found[name] = found.get(name, 0) + count
    return found


def summarize_files(
    paths: Sequence[str | os.PathLike[str]],
    *,
    superseded: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[pl.DataFrame, Report]:
    """Summarise run directories or files of a run, and report what was read and skipped.

    Args:
        paths: Run directories, or files.
        superseded: Whether rows that a later session replaced count too.
        progress: Called now and then with the bytes done and all bytes.
    """
    import polars as pl  # noqa: PLC0415 - loaded on first use

    stream, report = _backend.summarize([os.fspath(path) for path in paths], superseded=superseded, progress=progress)
    return pl.DataFrame(stream), report


def _paths(runs: Runs) -> list[str]:
    """Give the paths of what is to be read."""
    if isinstance(runs, str) or not isinstance(runs, Sequence):
        return [_path(runs)]
    paths = [_path(run) for run in runs]
    if not paths:
        raise NoLogError("No run was named: the list is empty")
    return paths


def _path(run: RunPath | HasPath) -> str:
    if isinstance(run, str | os.PathLike):
        return os.fspath(run)
    run.flush(_FLUSH_S)
    return os.fspath(run.path)


def _rows(paths: list[str], *, superseded: bool) -> pl.DataFrame:
    return _frame(paths, _backend.read_rows(paths, superseded=superseded), _row_schema(), noun="row")


def _frame(
    paths: list[str], found: tuple[ArrowStream, Report], schema: dict[str, pl.DataType], *, noun: str
) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415 - loaded on first use

    stream, report = found
    _warn(paths, report, noun)
    columns = stream.columns()
    columns.reverse()
    frame = {}
    # One after the other: a column that polars has in another form is there once, not twice.
    while columns:
        name, column = columns.pop()
        frame[name] = pl.DataFrame(column).to_series().cast(schema[name])
    return pl.DataFrame(frame)


def _row_schema() -> dict[str, pl.DataType]:
    import polars as pl  # noqa: PLC0415 - loaded on first use

    other: dict[str, pl.DataType] = {
        "timestamp": pl.Datetime("us", "UTC"),
        "step": pl.Int64(),
        "value": pl.Float64(),
        "session": pl.Int64(),
    }
    for name in _CATEGORICAL_COLUMNS:
        other[name] = pl.Categorical()
    return {name: other.get(name, pl.String()) for name in _ROW_COLUMNS}


def _payload_schema() -> dict[str, pl.DataType]:
    import polars as pl  # noqa: PLC0415 - loaded on first use

    other: dict[str, pl.DataType] = {
        "timestamp": pl.Datetime("us", "UTC"),
        "step": pl.Int64(),
        "shape": pl.List(pl.Int64),
        "truncated_bytes": pl.Int64(),
    }
    for name in ("stream", "run_id", "split", "metric", "dataset", "type", "version"):
        other[name] = pl.Categorical()
    return {name: other.get(name, pl.String()) for name in _PAYLOAD_COLUMNS}


def _oldest_first(rows: pl.LazyFrame) -> pl.LazyFrame:
    # The extension gives rows in order of position, and the sort is stable: position breaks ties.
    return rows.sort("timestamp", "step", nulls_last=False, maintain_order=True)


def _in_order(columns: list[pl.Series]) -> pl.DataFrame:
    """Put rows in order, a column after the other, so that they are not there twice. The list is used up."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    rows = pl.DataFrame(columns)
    if _is_oldest_first(rows):
        return rows
    order = rows.select(pl.arg_sort_by("timestamp", "step", nulls_last=False, maintain_order=True)).to_series()
    del rows
    for index in range(len(columns)):
        columns[index] = columns[index].gather(order)
    return pl.DataFrame(columns)


def _is_oldest_first(rows: pl.DataFrame) -> bool:
    """Whether rows are in order, as those of one stream mostly are; looking is much cheaper than sorting."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    time, step = pl.col("timestamp"), pl.col("step")
    # A comparison with null gives null, and so no answer.
    if rows["timestamp"].null_count() or rows["step"].null_count():
        return False
    later = (time > time.shift(1)) | ((time == time.shift(1)) & (step >= step.shift(1)))
    return bool(rows.select(later.slice(1).all()).item())


def _warn(paths: Sequence[str], report: Report, noun: str = "row") -> None:
    named = visible(", ".join(paths))
    for sentence in sentences(report, noun):
        _logger.warning("codex_obs: %s: %s", named, sentence)
