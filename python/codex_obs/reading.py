"""Reading a run back: every row, lazily or at once, or one summary row per metric.

The work is done by the extension, which scans the shards of every stream on all cores and hands its result over as
Arrow data. Polars is imported when the first of these functions is called.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from codex_obs import _backend
from codex_obs._remarks import sentences
from codex_obs._visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import polars as pl

    from codex_obs._backend import Report


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


def summarize(path: str | os.PathLike[str], *, superseded: bool = False) -> pl.DataFrame:
    """Summarise a run: one row for each run id, split, metric and dataset.

    Args:
        path: A run directory, or one NDJSON file of it.
        superseded: Whether rows that a later session replaced (`rewind_to`) count too. A file by itself, without its
            run directory, does not say which they are.

    Returns:
        The table that ``codex-ndjson summarize`` writes, in order of ``first_timestamp`` (null first). Columns and
        types do not depend on the data; a run without rows gives an empty table.

    Raises:
        CodexObsError: If there is no run log at `path`, or it cannot be read.
    """
    frame, report = summarize_files([path], superseded=superseded)
    _warn(path, report)
    return frame


def read(path: str | os.PathLike[str], *, superseded: bool = False) -> pl.DataFrame:
    """Read every row of all streams of a run, oldest first.

    Args:
        path: A run directory, or one NDJSON file of it.
        superseded: Whether to give rows that a later session replaced (`rewind_to`) too.

    Returns:
        One row per metric value, by (timestamp, step, position in the files); a missing timestamp or step comes
        first. ``tags`` is JSON text, ``timestamp`` is UTC in microseconds. ``session`` is the
        number of the session of the stream that wrote the row, from 0; null where that cannot be told.

    Raises:
        CodexObsError: If there is no run log at `path`, or it cannot be read.
    """
    rows = _rows(path, superseded=superseded)
    return rows if _is_oldest_first(rows) else _oldest_first(rows.lazy()).collect()


def scan(path: str | os.PathLike[str], *, superseded: bool = False) -> pl.LazyFrame:
    """Read a run lazily: like `read`, but the files are opened when the frame is collected.

    Args:
        path: A run directory, or one NDJSON file of it.
        superseded: Whether to give rows that a later session replaced (`rewind_to`) too.

    Returns:
        A lazy frame with the columns and the order of `read`. Filters and column choices are applied before sorting.
        Each collection reads the files anew.
    """
    from polars.io.plugins import register_io_source  # noqa: PLC0415 - polars is loaded on first use

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        frame = _rows(path, superseded=superseded)
        if predicate is not None:
            frame = frame.filter(predicate)
        if n_rows is not None:
            frame = frame.head(n_rows)
        yield frame if with_columns is None else frame.select(with_columns)

    return _oldest_first(register_io_source(source, schema=_row_schema()))


def recover(path: str | os.PathLike[str], *, foreign: bool = False) -> dict[str, int]:
    """Bring back the rows that dead writers of a run left in their journals.

    Readers and `init` do this by themselves; calling it is only needed to have the files complete on disk.

    Args:
        path: A run directory.
        foreign: Also take over journals written on another machine. Only right if no writer lives there any more.

    Returns:
        What was found and brought back, as counters.

    Raises:
        CodexObsError: If there is no run at `path`, or its files cannot be written.
    """
    return _backend.recover(os.fspath(path), foreign=foreign)


def summarize_files(
    paths: Sequence[str | os.PathLike[str]],
    *,
    superseded: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[pl.DataFrame, Report]:
    """Summarise one run directory or several files of a run, and report what was read and skipped.

    Args:
        paths: One run directory, or files.
        superseded: Whether rows that a later session replaced count too.
        progress: Called now and then with the bytes done and all bytes.
    """
    import polars as pl  # noqa: PLC0415 - loaded on first use

    stream, report = _backend.summarize([os.fspath(path) for path in paths], superseded=superseded, progress=progress)
    return pl.DataFrame(stream), report


def _rows(path: str | os.PathLike[str], *, superseded: bool) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415 - loaded on first use

    stream, report = _backend.read_rows([os.fspath(path)], superseded=superseded)
    frame = pl.DataFrame(stream)
    _warn(path, report)
    return frame.select(pl.col(name).cast(dtype) for name, dtype in _row_schema().items())


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


def _oldest_first(rows: pl.LazyFrame) -> pl.LazyFrame:
    # The extension gives rows in order of position, and the sort is stable: position breaks ties.
    return rows.sort("timestamp", "step", nulls_last=False, maintain_order=True)


def _is_oldest_first(rows: pl.DataFrame) -> bool:
    """Whether rows are in order, as those of one stream mostly are; looking is much cheaper than sorting."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    time, step = pl.col("timestamp"), pl.col("step")
    # A comparison with null gives null, and so no answer.
    if rows["timestamp"].null_count() or rows["step"].null_count():
        return False
    later = (time > time.shift(1)) | ((time == time.shift(1)) & (step >= step.shift(1)))
    return bool(rows.select(later.slice(1).all()).item())


def _warn(path: str | os.PathLike[str], report: Report) -> None:
    for sentence in sentences(report):
        _logger.warning("codex_obs: %s: %s", visible(os.fspath(path)), sentence)
