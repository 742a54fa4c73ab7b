"""Rows of a run as files of other tools: chosen, long or wide, page by page so that memory stays flat."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from codex_obs import _backend
from codex_obs._nonfinite import NUMBERS
from codex_obs.commands import _output
from codex_obs.commands._input import InputError
from codex_obs.errors import CodexObsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    import polars as pl

FORMATS = ("csv", "parquet", "ndjson", "jsonl")
_STEPS = re.compile(r"(?P<first>-?[0-9]+)?(?P<range>\.\.(?P<last>-?[0-9]+)?)?")
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_TIMESTAMP = "%Y-%m-%dT%H:%M:%S%.6fZ"
# Rows of one step that are kept until the next page shows whether it goes on: rows without a step are all of one.
_MOST_CARRIED = 100_000
# Columns that a wide row has beside one a metric.
_WIDE_KEYS = ("step", "timestamp", "run_id", "stream")


@dataclass(frozen=True)
class Choice:
    """Which rows are wanted.

    Attributes:
        metrics: Names, or ``split/metric``; empty for all.
        splits: Splits; empty for all.
        steps: First and last step; None for all, also rows without one.
    """

    metrics: Sequence[str] = ()
    splits: Sequence[str] = ()
    steps: tuple[int, int] | None = None

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Give the rows that are wanted."""
        import polars as pl  # noqa: PLC0415 - loaded on first use

        if self.metrics:
            wanted = list(self.metrics)
            frame = frame.filter(pl.col("metric").is_in(wanted) | _key().is_in(wanted))
        if self.splits:
            frame = frame.filter(pl.col("split").is_in(list(self.splits)))
        if self.steps is not None:
            frame = frame.filter(pl.col("step").is_between(*self.steps))
        return frame


def parse_steps(text: str) -> tuple[int, int]:
    """Read a range of steps: ``100..200`` (both included), ``100..``, ``..200`` or ``100``.

    Raises:
        InputError: If it is none.
    """
    match = _STEPS.fullmatch(text)
    if match is None or not text or text == "..":
        raise InputError(f"--step {text} is no range of steps: give 100..200, 100.., ..200 or 100.")
    first = int(match["first"]) if match["first"] else _INT64_MIN
    last = first if not match["range"] else int(match["last"]) if match["last"] else _INT64_MAX
    if not _INT64_MIN <= first <= last <= _INT64_MAX:
        raise InputError(f"--step {text} is empty or beyond 64 bits: give the smaller step first.")
    return first, last


@dataclass
class Account:
    """What was read and written so far."""

    rows_read: int = 0
    rows_written: int = 0
    # Rows of structured values, of which a wide table has no column.
    structured: int = 0
    skipped: int = 0
    reports: list[_backend.Report] = field(default_factory=list)


@dataclass(frozen=True)
class Export:
    """What is to be written.

    Attributes:
        paths: Run directories, or files of a run.
        choice: Which rows.
        kind: One of `FORMATS`.
        wide: One row a step, a column a metric; else one row a value.
        superseded: Whether rows that a later session replaced are wanted too.
    """

    paths: Sequence[Path]
    choice: Choice
    kind: str
    wide: bool
    superseded: bool = False

    def write(self, file: BinaryIO, account: Account, tell: Callable[[Account], None]) -> None:
        """Write everything to a file.

        Raises:
            CodexObsError: If the run cannot be read.
            OutputError: If the file cannot be written.
        """
        if self.kind == "parquet":
            self._write_parquet(file, account, tell)
            return
        is_first = True
        for frame in self._tables(account, tell):
            if self.kind == "csv":
                file.write(_output.to_csv(_with_safe_names(frame), header=is_first))
            elif self.wide:
                file.write(_wide_lines(frame))
            else:
                file.write(_long_lines(frame))
            is_first = False

    def _write_parquet(self, file: BinaryIO, account: Account, tell: Callable[[Account], None]) -> None:
        import polars as pl  # noqa: PLC0415 - loaded on first use
        from polars.io.plugins import register_io_source  # noqa: PLC0415

        tables = self._tables(account, tell)
        first = next(tables)
        failures: list[CodexObsError] = []

        def source(*_: object) -> Iterator[pl.DataFrame]:
            yield first
            try:
                yield from tables
            except CodexObsError as error:
                failures.append(error)
                raise

        # The streaming engine takes a table when it has written the one before.
        try:
            register_io_source(source, schema=first.schema).sink_parquet(file, engine="streaming")
        except pl.exceptions.PolarsError as error:
            if failures:
                raise failures[0] from None
            why = str(error).partition("\n")[0].rpartition("error: ")[2]
            raise _output.OutputError(f"The Parquet file cannot be written: {why}.") from error

    def _tables(self, account: Account, tell: Callable[[Account], None]) -> Iterator[pl.DataFrame]:
        """Give the tables that are written one after the other, all with the same columns; at least one."""
        columns = self._wide_columns() if self.wide else []
        carried: pl.DataFrame | None = None
        for frame in self._pages(account):
            if not self.wide:
                account.rows_written += frame.height
                yield frame
            else:
                import polars as pl  # noqa: PLC0415 - loaded on first use

                account.structured += frame.filter(pl.col("manifest_id").is_not_null()).height
                # The last step may go on in the next page.
                rows = frame if carried is None else pl.concat([carried, frame])
                is_last = pl.struct("run_id", "stream", "step").rle_id()
                numbered = rows.with_columns(is_last.alias("group"))
                last = numbered["group"].max()
                carried = numbered.filter(pl.col("group") == last).drop("group")
                if carried.height > _MOST_CARRIED:
                    table, carried = _wide(numbered, columns), carried.clear()
                else:
                    table = _wide(numbered.filter(pl.col("group") != last), columns)
                account.rows_written += table.height
                yield table
            tell(account)
        if carried is not None:
            import polars as pl  # noqa: PLC0415 - loaded on first use

            table = _wide(carried.with_columns(pl.lit(0, pl.UInt32).alias("group")), columns)
            account.rows_written += table.height
            yield table

    def _pages(self, account: Account) -> Iterator[pl.DataFrame]:
        import polars as pl  # noqa: PLC0415 - loaded on first use

        paths = [str(path) for path in self.paths]
        for stream, report in _backend.page_rows(paths, superseded=self.superseded):
            account.rows_read += report.rows
            account.skipped += report.skipped + report.faulty_fields + report.valueless_rows
            account.reports.append(report)
            frame = pl.DataFrame(stream)
            yield self.choice.of(frame.cast({pl.Categorical: pl.String})[_COLUMNS])

    def _wide_columns(self) -> list[str]:
        """Give the columns of a wide table, which have to be known before the first row is written."""
        import polars as pl  # noqa: PLC0415 - loaded on first use

        stream, _ = _backend.summarize([str(path) for path in self.paths], superseded=self.superseded)
        groups = pl.DataFrame(stream).select("split", "metric").unique(maintain_order=True)
        chosen = Choice(self.choice.metrics, self.choice.splits).of(groups)
        return chosen.select(_key()).to_series().unique(maintain_order=True).to_list()


_COLUMNS = [
    "stream", "run_id", "timestamp", "step", "split", "metric", "value", "dataset", "nonfinite", "manifest_id", "phase",
    "tags", "session",
]  # fmt: skip


def _key() -> pl.Expr:
    """Give the name of a row's metric in a wide table."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    split = pl.col("split").fill_null("")
    return pl.when(split == "").then(pl.col("metric")).otherwise(split + "/" + pl.col("metric")).alias("key")


def _wide(rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Make one row of consecutive rows of a step; a metric that comes twice begins another row."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    nonfinite = pl.col("nonfinite").replace_strict(NUMBERS, default=None, return_dtype=pl.Float64)
    value = pl.coalesce(nonfinite, "value")
    named = rows.filter(pl.col("manifest_id").is_null()).with_columns(_key(), value.alias("value"))
    repeated = named.with_columns(pl.int_range(pl.len()).over("group", "key").alias("turn"))
    first = repeated.group_by("group", "turn", maintain_order=True).agg(pl.first(*_WIDE_KEYS))
    table = first.sort("group", "turn")
    if repeated.height:
        values = repeated.pivot(on="key", index=["group", "turn"], values="value", aggregate_function="first")
        table = table.join(values, on=["group", "turn"], how="left", maintain_order="left")
    missing = [pl.lit(None, pl.Float64).alias(name) for name in columns if name not in table.columns]
    return table.with_columns(missing).select(*_WIDE_KEYS, *columns)


def _json_texts(column: str) -> pl.Expr:
    """Give a column of few different texts as JSON."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    def encode(texts: pl.Series) -> pl.Series:
        known = {text: "null" if text is None else json.dumps(text) for text in texts.unique()}
        return texts.replace_strict(
            pl.Series(list(known), dtype=pl.String), pl.Series(list(known.values()), dtype=pl.String)
        )

    return pl.col(column).map_batches(encode, return_dtype=pl.String)


def _json_numbers(column: str) -> pl.Expr:
    import polars as pl  # noqa: PLC0415 - loaded on first use

    return pl.col(column).cast(pl.String).fill_null("null")


def _json_times() -> pl.Expr:
    import polars as pl  # noqa: PLC0415 - loaded on first use

    text = pl.col("timestamp").dt.strftime(_TIMESTAMP)
    return (pl.lit('"') + text + pl.lit('"')).fill_null("null")


def _long_lines(frame: pl.DataFrame) -> bytes:
    """Encode rows as lines that readers of logs take for rows again."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    fields = [
        ("timestamp", _json_times()),
        ("run_id", _json_texts("run_id")),
        ("step", _json_numbers("step")),
        ("split", _json_texts("split")),
        ("metric", _json_texts("metric")),
        ("value", _json_numbers("value")),
        ("dataset", _json_texts("dataset")),
        ("tags", pl.col("tags").fill_null("{}")),
        ("stream", _json_texts("stream")),
        ("session", _json_numbers("session")),
    ]
    return _joined(frame, [piece for name, text in fields for piece in (pl.lit(f',"{name}":'), text)])


def _wide_lines(frame: pl.DataFrame) -> bytes:
    """Encode wide rows as lines, without the metrics that a row does not have."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    pieces = [pl.lit(',"step":'), _json_numbers("step"), pl.lit(',"timestamp":'), _json_times()]
    for name in ("run_id", "stream"):
        pieces += [pl.lit(f',"{name}":'), _json_texts(name)]
    for name in frame.columns[len(_WIDE_KEYS) :]:
        value = pl.col(name)
        text = value.cast(pl.String)
        # No JSON has a number for these; readers take the words of the rows' tags.
        for word, number in NUMBERS.items():
            is_meant = value.is_nan() if math.isnan(number) else value == number
            text = pl.when(is_meant).then(pl.lit(json.dumps(word))).otherwise(text)
        key = pl.lit("," + json.dumps(name) + ":")
        pieces.append(pl.when(value.is_null()).then(pl.lit("")).otherwise(key + text))
    return _joined(frame, pieces)


def _joined(frame: pl.DataFrame, pieces: Sequence[pl.Expr]) -> bytes:
    import polars as pl  # noqa: PLC0415 - loaded on first use

    if not frame.height:
        return b""
    body = pl.concat_str(pieces).str.slice(1)
    lines = frame.select((pl.lit("{") + body + pl.lit("}\n")).alias("line"))
    return "".join(lines.to_series().to_list()).encode()


def _with_safe_names(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.rename({name: f"'{name}" for name in frame.columns if name[:1] in "=+-@'\t\r\n" and name})
