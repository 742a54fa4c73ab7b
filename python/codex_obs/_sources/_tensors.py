"""Tensors and histograms as TensorFlow writes them into protocol buffers, made values of Python.

Source: tensorflow/core/framework/tensor.proto, types.proto and summary.proto.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from codex_obs._sources import _wire

# Field numbers of TensorProto, and of the shape in it.
_KIND, _SHAPE, _CONTENT, _TEXTS, _DIM = 1, 2, 4, 8, 2
_STRING, _HALF, _BFLOAT16 = 7, 19, 14
# Types of elements: the code for `struct` in the packed content, and the field of single values with its own code.
_ELEMENTS = {
    1: ("f", 5, "f"),
    2: ("d", 6, "d"),
    3: ("i", 7, "q"),
    4: ("B", 7, "q"),
    5: ("h", 7, "q"),
    6: ("b", 7, "q"),
    9: ("q", 10, "q"),
    10: ("?", 11, "q"),
    _BFLOAT16: ("H", 13, "q"),
    17: ("H", 7, "q"),
    _HALF: ("e", 13, "q"),
    22: ("I", 16, "q"),
    23: ("Q", 17, "q"),
}
_LARGEST = struct.unpack(">d", b"\x7f\xef" + b"\xff" * 6)[0]
_COLUMNS = 3  # of a histogram: left edge, right edge, count


class Tensor(NamedTuple):
    """Elements in row-major order, and their shape."""

    shape: list[int]
    elements: list[float] | list[str]

    def nested(self) -> object:
        """Give the elements as lists of lists; one alone for a tensor without dimensions."""
        nested: list[object] = list(self.elements)
        for size in reversed(self.shape[1:]):
            nested = [nested[start : start + size] for start in range(0, len(nested), size or 1)]
        return nested if self.shape else nested[0]


def tensor(message: bytes) -> Tensor | None:
    """Read a ``TensorProto``; None for elements that are no numbers and no text, or not as many as the shape says."""
    found = _wire.members(message)
    kind, shape = _wire.integer(found.get(_KIND)), _shape(_wire.sub(found.get(_SHAPE)))
    size = math.prod(shape)
    elements: list[float] | list[str]
    if kind == _STRING:
        elements = [_wire.text(value) for number, value in _wire.fields(message) if number == _TEXTS]
    elif kind in _ELEMENTS:
        elements = _numbers(message, kind, _wire.sub(found.get(_CONTENT)), size)
    else:
        return None
    return Tensor(shape, elements) if len(elements) == size else None


def _shape(message: bytes) -> list[int]:
    return [
        _wire.integer(_wire.members(_wire.sub(dim)).get(1)) for number, dim in _wire.fields(message) if number == _DIM
    ]


def _numbers(message: bytes, kind: int, content: bytes, size: int) -> list[float]:
    code, field, field_code = _ELEMENTS[kind]
    if content:
        whole = len(content) // struct.calcsize(code)
        elements: list[float] = list(struct.unpack_from(f"<{whole}{code}", content))
    else:
        elements = _wire.numbers(message, field, field_code)
        if kind == _HALF:
            elements = [struct.unpack("<e", struct.pack("<H", int(bits) & 0xFFFF))[0] for bits in elements]
        # The last element stands for all that follow.
        elements += elements[-1:] * (size - len(elements))
    if kind == _BFLOAT16:
        elements = [struct.unpack("<f", struct.pack("<I", (int(bits) & 0xFFFF) << 16))[0] for bits in elements]
    return elements


def histogram_of_tensor(found: Tensor) -> dict[str, object] | None:
    """Make a histogram of a tensor with a row a bucket: left edge, right edge, count."""
    if len(found.shape) != 2 or found.shape[1] != _COLUMNS:  # noqa: PLR2004 - rows and columns
        return None
    rows = [found.elements[start : start + _COLUMNS] for start in range(0, len(found.elements), _COLUMNS)]
    lefts, rights, counts = ([row[column] for row in rows] for column in range(_COLUMNS))
    # One bucket begins where the one before ends; if not, both edges are kept.
    if lefts[1:] == rights[:-1]:
        return {"counts": counts, "edges": [*lefts[:1], *rights]}
    return {"counts": counts, "lefts": lefts, "rights": rights}


def histogram(message: bytes) -> dict[str, object]:
    """Read a ``HistogramProto``: right edges and counts, and the extremes, which are the outer edges."""
    found = _wire.members(message)
    smallest, largest = _wire.double(found.get(1)), _wire.double(found.get(2))
    rights, counts = _wire.numbers(message, 6, "d"), _wire.numbers(message, 7, "d")
    # TensorFlow's outermost buckets reach to the end of all numbers; PyTorch begins with an empty one that has no left.
    if rights and rights[-1] >= _LARGEST:
        rights[-1] = max(largest, *rights[-2:-1], smallest)
    if counts and not counts[0] and rights[0] <= smallest:
        edges, counts = rights, counts[1:]
    else:
        edges = [min(smallest, *rights[:1]), *rights]
    return {
        "counts": counts,
        "edges": edges,
        "min": smallest,
        "max": largest,
        "num": _wire.double(found.get(3)),
        "sum": _wire.double(found.get(4)),
        "sum_squares": _wire.double(found.get(5)),
    }
