"""Text on a terminal: made harmless, measured in columns, folded and padded."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# What a table shows where there is nothing to show.
NOTHING = "-"

_WIDE = ("W", "F")
_NO_WIDTH = ("Mn", "Me", "Cf")


def shortened(numbers: Sequence[float | None]) -> list[str]:
    """Make texts of numbers, of five digits that count, and ``-`` of what is missing."""
    known = [number for number in numbers if number is not None]
    # One call for all of them takes a fraction of the time of one for each.
    texts = ("%.5g\n" * len(known) % tuple(known)).splitlines()
    if len(known) == len(numbers):
        return texts
    rest = iter(texts)
    return [NOTHING if number is None else next(rest) for number in numbers]


def display_width(text: str) -> int:
    """Return the columns that a text takes on a terminal: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def padded(text: str, width: int, *, to_right: bool = False) -> str:
    """Fill a text with spaces to a width."""
    if text.isascii():
        return text.rjust(width) if to_right else text.ljust(width)
    spaces = " " * (width - display_width(text))
    return spaces + text if to_right else text + spaces


def fold(text: str, width: int, *, at_spaces: bool = False) -> list[str]:
    """Break a text into pieces of at most a width; a character that is wider than that stands alone.

    Args:
        text: The text.
        width: Columns of a piece.
        at_spaces: Whether words are kept together where that is possible.
    """
    if display_width(text) <= width:
        return [text]
    if text.isascii() and not at_spaces:
        return [text[start : start + width] for start in range(0, len(text), width)]
    pieces = [""]
    room = width
    for character in text:
        taken = _character_width(character)
        if taken > room and pieces[-1]:
            head, space, tail = pieces[-1].rpartition(" ")
            if at_spaces and space and head and character != " ":
                pieces[-1:] = [head, tail]
            else:
                pieces.append("")
            room = width - display_width(pieces[-1])
            if at_spaces and character == " ":
                continue
        pieces[-1] += character
        room -= taken
    return pieces


def _character_width(character: str) -> int:
    if character.isascii():
        return 1
    if unicodedata.category(character) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1
