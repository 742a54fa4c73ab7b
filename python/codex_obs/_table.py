"""A summary as a table for people: the columns that say most, texts made harmless, numbers short."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from codex_obs._visible import visible

if TYPE_CHECKING:
    import polars as pl

_Row = dict[str, object]

# Wide enough that nothing is folded where there is no terminal to fold for.
_UNLIMITED_COLUMNS = 100_000


def to_table(frame: pl.DataFrame, *, width: int | None = None) -> str:
    """Draw a summary for people.

    Shown are, for each group: its names, ``count``, ``steps`` (first to last), the first, last, smallest, largest and
    mean value, how many values were not finite, and the last phase. The run id, dataset, phase and the count of
    non-finite values are left out where no row has anything to say there. The other formats have every column.

    Args:
        frame: Result of `codex_obs.summarize`.
        width: Columns of the terminal, to which long names are folded; None for no limit.

    Returns:
        Lines that end in a newline, without any escape sequence.
    """
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - only a table needs rich, and it takes long to import
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    rows = frame.to_dicts()
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    columns = [column for column in _COLUMNS if column.shown(rows)]
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.numeric else "left",
            no_wrap=column.numeric,
            overflow="fold",
            min_width=None if column.numeric else 6,
        )
    for row in rows:
        table.add_row(*(Text(visible(column.text(row))) for column in columns))

    drawn = io.StringIO()
    console = Console(
        file=drawn, width=width or _UNLIMITED_COLUMNS, color_system=None, markup=False, emoji=False, highlight=False
    )
    console.print(table)
    lines = [line.rstrip() for line in drawn.getvalue().splitlines()]
    return "".join(f"{line}\n" for line in [*_heading(rows), *lines])


class _Column:
    """One column of the drawn table."""

    def __init__(self, title: str, source: str, *, numeric: bool = True, omit_if_empty: bool = False) -> None:
        self.title = title
        self.numeric = numeric
        self._source = source
        self._omit_if_empty = omit_if_empty

    def shown(self, rows: list[_Row]) -> bool:
        return not self._omit_if_empty or any(row[self._source] for row in rows)

    def text(self, row: _Row) -> str:
        return _short(row[self._source])


class _RunColumn(_Column):
    """The run id, which stands in the heading where all rows share it."""

    def shown(self, rows: list[_Row]) -> bool:
        return len({row["run_id"] for row in rows}) > 1


class _StepsColumn(_Column):
    """First and last step as one range."""

    def text(self, row: _Row) -> str:
        first, last = row["first_step"], row["last_step"]
        return _short(last) if first == last else f"{_short(first)}..{_short(last)}"


_COLUMNS = (
    _RunColumn("run", "run_id", numeric=False),
    _Column("split", "split", numeric=False),
    _Column("metric", "metric", numeric=False),
    _Column("dataset", "dataset", numeric=False, omit_if_empty=True),
    _Column("phase", "last_phase", numeric=False, omit_if_empty=True),
    _Column("count", "count"),
    _StepsColumn("steps", "last_step"),
    _Column("first", "first_value"),
    _Column("last", "last_value"),
    _Column("min", "min_value"),
    _Column("max", "max_value"),
    _Column("mean", "mean_value"),
    _Column("non-finite", "nonfinite_count", omit_if_empty=True),
)


def _heading(rows: list[_Row]) -> list[str]:
    run_ids = {row["run_id"] for row in rows}
    if len(run_ids) != 1:
        return []
    return [f"run {visible(str(*run_ids))}", ""]


def _short(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
