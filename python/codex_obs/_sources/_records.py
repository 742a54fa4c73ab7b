"""Files of records: those that TensorBoard reads (TFRecord), and those of W&B (a LevelDB log)."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from codex_obs._sources._base import Account

_LENGTH, _CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")
# A record is read whole: no tool writes one of this size, a damaged length names any.
_MAX_RECORD_BYTES = 1 << 30
_MASK_DELTA = 0xA282_EAD8
_CUT = "file that ends amid a record"

_BLOCK_BYTES = 32768
_HEADER = struct.Struct("<IHB")
_DAMAGED, _FULL, _FIRST, _LAST = -1, 1, 2, 4
_BEGINNING = b":W&B" + struct.pack("<H", 0xBEE1)
_BEGINNING_BYTES = 7


def _castagnoli_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F6_3B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _castagnoli_table()


def masked_checksum(data: bytes) -> int:
    """Compute the checksum of a TFRecord: CRC-32C (RFC 3720, B.4), rotated and added to."""
    table, value = _TABLE, 0xFFFF_FFFF
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    value ^= 0xFFFF_FFFF
    return ((value >> 15 | value << 17) + _MASK_DELTA) & 0xFFFF_FFFF


def tf_records(file: BinaryIO, account: Account) -> Iterator[tuple[bytes, int]]:
    """Give each record of a TFRecord file with the checksum that it is to have.

    The caller compares the checksum of a record that it takes something of: in Python that costs as much as
    reading the record, and most
    bytes of such a file are images. A record that is cut ends the file, as one does whose length is damaged.
    """
    head = _LENGTH.size + _CHECKSUM.size
    while True:
        start = file.read(head)
        if not start:
            return
        if len(start) < head:
            account.damaged[_CUT] += 1
            return
        length = _LENGTH.unpack_from(start)[0]
        checksum = _CHECKSUM.unpack_from(start, _LENGTH.size)[0]
        if length > _MAX_RECORD_BYTES or masked_checksum(start[: _LENGTH.size]) != checksum:
            account.damaged["file that is damaged from some record on"] += 1
            return
        body = file.read(length + _CHECKSUM.size)
        if len(body) < length + _CHECKSUM.size:
            account.damaged[_CUT] += 1
            return
        yield body[:length], _CHECKSUM.unpack_from(body, length)[0]


def is_wandb(beginning: bytes) -> bool:
    """Tell whether a file that begins so is a W&B run file."""
    return beginning.startswith(_BEGINNING)


def wandb_records(file: BinaryIO, account: Account) -> Iterator[bytes]:
    """Give each record of a W&B run file.

    Format: https://github.com/google/leveldb/blob/main/doc/log_format.md, but with a head, and zlib's CRC-32.
    A record with a damaged part is left out; reading resumes with the next block.
    """
    parts: list[bytes] = []
    for kind, part in _wandb_parts(file, account):
        if kind in (_FULL, _FIRST):
            parts = [part]
        elif parts and kind != _DAMAGED:
            parts.append(part)
        else:
            parts = []
        if kind in (_FULL, _LAST) and parts:
            yield b"".join(parts)
            parts = []
    if parts:
        account.damaged[_CUT] += 1


def _wandb_parts(file: BinaryIO, account: Account) -> Iterator[tuple[int, bytes]]:
    """Give the kind and the bytes of each part of a record; of the rest of a damaged block one that says so."""
    if not is_wandb(file.read(_BEGINNING_BYTES)):
        account.damaged["file that is no W&B run file"] += 1
        return
    place = _BEGINNING_BYTES
    block = bytes(place) + file.read(_BLOCK_BYTES - place)
    while len(block) > place:
        while len(block) - place >= _HEADER.size:
            checksum, length, kind = _HEADER.unpack_from(block, place)
            place += _HEADER.size
            part = block[place : place + length]
            place += length
            # Zeros are what a writer reserved.
            if kind == 0 and length == 0:
                break
            if len(part) < length and len(block) < _BLOCK_BYTES:
                yield _FIRST, part
                return
            if len(part) < length or zlib.crc32(part, zlib.crc32(bytes([kind]))) != checksum:
                account.damaged["block that is damaged"] += 1
                yield _DAMAGED, b""
                break
            yield kind, part
        # Fewer bytes than a part's head fill a block up, with zeros.
        if len(block) < _BLOCK_BYTES and any(block[place:]):
            yield _FIRST, block[place:]
        block, place = file.read(_BLOCK_BYTES), 0
