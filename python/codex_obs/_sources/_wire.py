"""Protocol buffers on the wire: numbered fields, read without their schema.

Format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BITS = 70
_DOUBLE, _FLOAT = struct.Struct("<d"), struct.Struct("<f")


class WireError(ValueError):
    """The bytes are no message."""


class Field(NamedTuple):
    """One field: its number, and an integer (varint) or bytes (all other types)."""

    number: int
    value: int | bytes


def fields(message: bytes) -> Iterator[Field]:
    """Give the fields of a message in order.

    Raises:
        WireError: If it is cut or uses a type that no message has.
    """
    place, end = 0, len(message)
    while place < end:
        key, place = _varint(message, place)
        kind = key & 7
        if kind == _VARINT:
            number, place = _varint(message, place)
            yield Field(key >> 3, number)
            continue
        if kind == _LENGTH:
            length, place = _varint(message, place)
        elif kind == _FIXED64:
            length = 8
        elif kind == _FIXED32:
            length = 4
        else:
            raise WireError(f"wire type {kind}")
        if place + length > end:
            raise WireError("a field is longer than its message")
        yield Field(key >> 3, message[place : place + length])
        place += length


def members(message: bytes) -> dict[int, int | bytes]:
    """Give the last value of each field, which is what counts of one that is not repeated."""
    return dict(fields(message))


def sub(value: int | bytes | None) -> bytes:
    """Take a field for bytes or a message; empty where it is missing or of another type."""
    return value if isinstance(value, bytes) else b""


def text(value: int | bytes | None) -> str:
    """Take a field for text."""
    return sub(value).decode(errors="replace")


def integer(value: int | bytes | None) -> int:
    """Take a field for a signed integer of 64 bits; 0 where it is missing."""
    if not isinstance(value, int):
        return 0
    number = value & 0xFFFF_FFFF_FFFF_FFFF
    return number - (1 << 64) if number >> 63 else number


def double(value: int | bytes | None) -> float:
    """Take a field for a ``double``; 0 where it is missing."""
    number: float = _DOUBLE.unpack(value)[0] if isinstance(value, bytes) and len(value) == _DOUBLE.size else 0.0
    return number


def single(value: int | bytes | None) -> float:
    """Take a field for a ``float``; 0 where it is missing."""
    number: float = _FLOAT.unpack(value)[0] if isinstance(value, bytes) and len(value) == _FLOAT.size else 0.0
    return number


def numbers(message: bytes, number: int, code: str) -> list[float]:
    """Give a repeated field of numbers, packed or not.

    Args:
        message: The message.
        number: Number of the field.
        code: Its type as `struct` knows it: ``d``, ``f``, or ``q`` for a varint.
    """
    found: list[float] = []
    for field, value in fields(message):
        if field != number:
            continue
        if code == "q":
            found += [integer(value)] if isinstance(value, int) else _varints(value)
        elif isinstance(value, bytes):
            size = struct.calcsize(code)
            found += struct.unpack(f"<{len(value) // size}{code}", value[: len(value) // size * size])
    return found


def _varints(packed: bytes) -> Iterator[int]:
    place = 0
    while place < len(packed):
        number, place = _varint(packed, place)
        yield integer(number)


def _varint(message: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    try:
        while True:
            byte = message[place]
            place += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the bit that says that another byte follows
                return number, place
            shift += 7
            if shift >= _MAX_VARINT_BITS:
                raise WireError("a number of more than ten bytes")
    except IndexError:
        raise WireError("a number is cut") from None
