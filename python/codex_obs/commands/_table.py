"""A summary as a table for people: the columns that say most, texts made harmless, numbers short and never cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_obs._visible import visible
from codex_obs.commands._folding import NOTHING, display_width, fold, padded, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

_GAP = "  "
# A name that is folded to fewer columns than this can hardly be read.
_MIN_NAME_WIDTH = 8
# What goes first where not all columns fit. Names and the last value stay.
_LEFT_OUT_FIRST = ("mean", "first", "min", "max", "steps", "count", "non-finite")


def to_table(frame: pl.DataFrame, *, width: int | None = None) -> str:
    """Draw a summary for people.

    Shown are, for each group: its names, ``count``, ``steps`` (first to last), the first, last, smallest, largest and
    mean value, how many values were not finite, and the last phase. The run id, dataset, phase and the count of
    non-finite values are left out where no row has anything to say there. The other formats have every column.

    Args:
        frame: Result of `codex_obs.summarize`.
        width: Columns of the terminal; None for no limit. Where they are too few, long names are folded, then columns
            are left out and named below the table, then each group becomes a block of lines. No number is ever cut.

    Returns:
        Lines that end in a newline, without any escape sequence.
    """
    columns = _columns(frame)
    lines = [*_heading(frame, width)]
    shown, left_out = _fitting(columns, width)
    if shown is None:
        lines += _blocks(columns, width or 1)
    else:
        lines += _grid(shown, width)
        if left_out:
            words = f"Not shown, for lack of room: {', '.join(left_out)}. A wider terminal or --output csv shows all."
            lines += ["", *fold(words, width or display_width(words), at_spaces=True)]
    lines.append("")
    return "\n".join(lines)


class _Column:
    """A column of the drawn table."""

    def __init__(self, title: str, texts: pl.Series, *, is_number: bool = True) -> None:
        self.title = title
        self.texts = texts
        self.is_number = is_number
        self.is_narrowed = False
        self.is_ascii = is_number or bool((texts.str.len_bytes() == texts.str.len_chars()).all())
        if self.is_ascii:
            widest = texts.str.len_chars().max()
            self.width = max(len(title), widest if isinstance(widest, int) else 0)
        else:
            self.width = max(len(title), *map(display_width, texts.unique().to_list()))

    def padded(self) -> pl.Series:
        """Return the texts, filled with spaces to the column's width."""
        if not self.is_ascii:
            import polars as pl  # noqa: PLC0415 - loaded on first use

            texts = [text + " " * (self.width - display_width(text)) for text in self.texts.to_list()]
            return pl.Series(texts, dtype=pl.String)
        return self.texts.str.pad_start(self.width) if self.is_number else self.texts.str.pad_end(self.width)

    def fits(self) -> list[bool]:
        """Return for each text whether it needs no folding."""
        if not self.is_narrowed:
            return [True] * len(self.texts)
        if self.is_ascii:
            return (self.texts.str.len_bytes() <= self.width).to_list()
        return [display_width(text) <= self.width for text in self.texts.to_list()]


def _columns(frame: pl.DataFrame) -> list[_Column]:
    names = [("run", "run_id")] if frame["run_id"].n_unique() > 1 else []
    names += [("split", "split"), ("metric", "metric")]
    names += [(title, name) for title, name in (("dataset", "dataset"), ("phase", "last_phase")) if _says(frame, name)]
    columns = [_Column(title, _names(frame[name]), is_number=False) for title, name in names]
    columns += [_Column("count", _numbers(frame["count"])), _Column("steps", _steps(frame))]
    columns += [_Column(name, _numbers(frame[f"{name}_value"])) for name in ("first", "last", "min", "max", "mean")]
    if _says(frame, "nonfinite_count"):
        columns.append(_Column("non-finite", _numbers(frame["nonfinite_count"])))
    return columns


def _names(column: pl.Series) -> pl.Series:
    import polars as pl  # noqa: PLC0415 - loaded on first use

    texts = column.fill_null(NOTHING)
    if not texts.str.contains(r"[^\x20-\x7e]").any():
        return texts
    return pl.Series([visible(text) for text in texts.to_list()], dtype=pl.String)


def _numbers(column: pl.Series) -> pl.Series:
    import polars as pl  # noqa: PLC0415 - loaded on first use

    if column.dtype.is_integer():
        return column.cast(pl.String).fill_null(NOTHING)
    return pl.Series(shortened(column.to_list()), dtype=pl.String)


def _steps(frame: pl.DataFrame) -> pl.Series:
    """First and last step as one range."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    first, last = (pl.col(name).cast(pl.String).fill_null(NOTHING) for name in ("first_step", "last_step"))
    steps = pl.when(first == last).then(last).otherwise(pl.concat_str(first, pl.lit(".."), last))
    return frame.select(steps.alias("steps")).to_series()


def _says(frame: pl.DataFrame, name: str) -> bool:
    return any(frame[name].unique().to_list())


def _heading(frame: pl.DataFrame, width: int | None) -> list[str]:
    run_ids = frame["run_id"].unique().to_list()
    if len(run_ids) != 1:
        return []
    words = f"run {visible(str(run_ids[0]))}"
    return [*fold(words, width or display_width(words)), ""]


def _fitting(columns: list[_Column], width: int | None) -> tuple[list[_Column] | None, list[str]]:
    """Choose the columns that fit, with their names folded if need be; None if not even the fewest do."""
    left_out: list[str] = []
    shown = columns
    if width is None:
        return shown, left_out
    for title in ("", *_LEFT_OUT_FIRST):
        if title and any(column.title == title for column in shown):
            shown = [column for column in shown if column.title != title]
            left_out.append(title)
        names = [column for column in shown if not column.is_number]
        numbers = sum(column.width for column in shown if column.is_number)
        room = width - numbers - len(_GAP) * (len(shown) - 1)
        if room >= sum(min(column.width, _MIN_NAME_WIDTH) for column in names):
            _share(names, room)
            return shown, left_out
    return None, []


def _share(names: list[_Column], room: int) -> None:
    """Narrow the widest columns until all of them fit."""
    excess = sum(column.width for column in names) - room
    while excess > 0:
        widest = max(names, key=lambda column: column.width)
        others = max((column.width for column in names if column is not widest), default=0)
        step = min(excess, max(1, widest.width - max(others, _MIN_NAME_WIDTH)))
        widest.width -= step
        widest.is_narrowed = True
        excess -= step


def _grid(columns: list[_Column], width: int | None) -> list[str]:
    titles = [padded(column.title, column.width, to_right=column.is_number) for column in columns]
    rule = sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)
    head = [_GAP.join(titles).rstrip(), "─" * min(rule, width or rule)]
    names = [column for column in columns if not column.is_number]
    numbers = _joined([column for column in columns if column.is_number])
    if not any(column.is_narrowed for column in names):
        return [*head, *_joined([*names, _Column("", numbers)]).to_list()]
    fitting = _joined([*names, _Column("", numbers)]).to_list()
    rows = zip(*(column.texts.to_list() for column in names), strict=True)
    fits = zip(*(column.fits() for column in names), strict=True)
    lines = head
    for line, number, row, fit in zip(fitting, numbers.to_list(), rows, fits, strict=True):
        if all(fit):
            lines.append(line)
        else:
            lines += _folded_row(names, row, number)
    return lines


def _joined(columns: list[_Column]) -> pl.Series:
    import polars as pl  # noqa: PLC0415 - loaded on first use

    frame = pl.DataFrame({str(index): column.padded() for index, column in enumerate(columns)})
    return frame.select(pl.concat_str(pl.all(), separator=_GAP).str.strip_chars_end(" ").alias("line")).to_series()


def _folded_row(names: list[_Column], row: tuple[str, ...], numbers: str) -> Iterator[str]:
    pieces = [fold(text, column.width) for column, text in zip(names, row, strict=True)]
    for index in range(max(map(len, pieces))):
        texts = [
            padded(piece[index] if index < len(piece) else "", column.width)
            for column, piece in zip(names, pieces, strict=True)
        ]
        yield _GAP.join([*texts, numbers]).rstrip()
        numbers = ""


def _blocks(columns: list[_Column], width: int) -> Iterator[str]:
    """One group after the other: its names, and below them the numbers, as many in a line as fit."""
    names = [column for column in columns if not column.is_number]
    numbers = [column for column in columns if column.is_number]
    titles = [column.title for column in numbers]
    rows = zip(*(column.texts.to_list() for column in [*names, *numbers]), strict=True)
    for index, row in enumerate(rows):
        if index > 0:
            yield ""
        yield from fold(_GAP.join(row[: len(names)]), width)
        line = ""
        for title, number in zip(titles, row[len(names) :], strict=True):
            pair = f"{title} {number}"
            if line and len(line) + len(_GAP) + len(pair) <= width:
                line += _GAP + pair
                continue
            if line:
                yield line
            line = _GAP + pair
            if len(line) > width:
                # A number that is wider than the terminal runs over its edge, where no digit is lost.
                yield _GAP + title
                line = number
        yield line
