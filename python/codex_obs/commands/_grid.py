"""Columns of text as a table that fits into a terminal: long names are folded, then the least important left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from codex_obs.commands._folding import display_width, fold, padded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_GAP = "  "
# A text that is folded to fewer columns than this can hardly be read.
_MIN_WIDTH = 8


@dataclass
class Column:
    """A column of a table.

    Attributes:
        title: What stands above it.
        texts: One a row, without control characters.
        is_number: Whether it is set to the right and never folded.
        rank: Columns with the largest rank are left out first, where there is no room; with 0 never.
    """

    title: str
    texts: Sequence[str]
    is_number: bool = False
    rank: int = 0
    width: int = field(init=False)

    def __post_init__(self) -> None:
        self.width = max(display_width(self.title), max(map(display_width, self.texts), default=0))


def draw(columns: Sequence[Column], *, width: int | None, remedy: str) -> str:
    """Draw a table.

    Args:
        columns: With as many texts each.
        width: Columns of the terminal; None for no limit.
        remedy: What shows the columns that are left out, such as ``--json shows all``.

    Returns:
        Lines that end in a newline, without any escape sequence.
    """
    shown, left_out = _fitting(list(columns), width)
    lines = [*_rows(shown)] if width is None or _total(shown) <= width else [*_blocks(shown, width)]
    if left_out:
        words = f"Not shown, for lack of room: {', '.join(left_out)}. {remedy}."
        lines += ["", *fold(words, width or display_width(words), at_spaces=True)]
    return "".join(f"{line}\n" for line in lines)


def _total(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)


def _fitting(columns: list[Column], width: int | None) -> tuple[list[Column], list[str]]:
    left_out: list[str] = []
    if width is None:
        return columns, left_out
    while True:
        names = [column for column in columns if not column.is_number]
        least = _total(columns) - sum(column.width - min(column.width, _MIN_WIDTH) for column in names)
        droppable = [column for column in columns if column.rank]
        if least <= width or not droppable:
            break
        least_important = max(reversed(droppable), key=lambda column: column.rank)
        columns = [column for column in columns if column is not least_important]
        left_out.insert(0, least_important.title)
    excess = _total(columns) - width
    while excess > 0:
        widest = max(names, key=lambda column: column.width, default=None)
        if widest is None or widest.width <= _MIN_WIDTH:
            break
        others = max((column.width for column in names if column is not widest), default=0)
        step = min(excess, max(1, widest.width - max(others, _MIN_WIDTH)))
        widest.width -= step
        excess -= step
    return columns, left_out


def _rows(columns: Sequence[Column]) -> Iterator[str]:
    yield _GAP.join(padded(column.title, column.width, to_right=column.is_number) for column in columns).rstrip()
    yield "─" * _total(columns)
    for texts in zip(*(column.texts for column in columns), strict=True):
        pieces = [
            [text] if display_width(text) <= column.width else fold(text, column.width)
            for column, text in zip(columns, texts, strict=True)
        ]
        for index in range(max(map(len, pieces))):
            cells = (
                padded(piece[index] if index < len(piece) else "", column.width, to_right=column.is_number)
                for column, piece in zip(columns, pieces, strict=True)
            )
            yield _GAP.join(cells).rstrip()


def _blocks(columns: Sequence[Column], width: int) -> Iterator[str]:
    """One row after the other, a line a column: for a terminal of very few columns."""
    for index, texts in enumerate(zip(*(column.texts for column in columns), strict=True)):
        if index:
            yield ""
        for place, (column, text) in enumerate(zip(columns, texts, strict=True)):
            yield from fold(text if place == 0 else f"{_GAP}{column.title} {text}", width)
