"""Numbers for the page: a short head as JSON, then columns of 64-bit floats that a browser uses as they are."""

from __future__ import annotations

import json
import struct
import sys
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MEDIA_TYPE = "application/octet-stream"
_NAN = float("nan")


def column(values: Iterable[float | None]) -> array[float]:
    """Make a column; nothing becomes NaN."""
    return array("d", [_NAN if value is None else value for value in values])


def pack(head: Mapping[str, object], columns: Sequence[array[float]]) -> bytes:
    """Put head and columns together: the length of the head (4 bytes), the head, padding to 8 bytes, the columns.

    Everything is little-endian, as browsers' typed arrays are.
    """
    text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-(len(text) + 4) % 8)
    if sys.byteorder != "little":
        for each in columns:
            each.byteswap()
    return b"".join([struct.pack("<I", len(text)), text, *(each.tobytes() for each in columns)])


def as_json(content: object) -> str:
    """Write JSON; what has no form there becomes text."""
    return json.dumps(_finite(content), separators=(",", ":"), allow_nan=False, default=str)


def _finite(value: object) -> object:
    """Give what JSON has a form for: a number that is not finite becomes its name."""
    if isinstance(value, float):
        return value if value - value == 0 else "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124 - NaN
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
