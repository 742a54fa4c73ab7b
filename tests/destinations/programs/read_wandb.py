"""Print the records of a `.wandb` file as JSON, read with W&B's own messages; what is damaged or torn is an error."""

import json
import struct
import sys
import zlib
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from wandb.proto import wandb_internal_pb2

BLOCK = 32768
HEAD = struct.Struct("<IHB")
WHOLE, FIRST, _MIDDLE, LAST = 1, 2, 3, 4


def records(data: bytes) -> list[bytes]:
    assert data.startswith(b":W&B\xe1\xbe\x00"), data[:7]
    found: list[bytes] = []
    parts: list[bytes] = []
    place = 7
    while place < len(data):
        left = BLOCK - place % BLOCK
        if left < HEAD.size:
            assert not any(data[place : place + left]), "padding is zeros"
            place += left
            continue
        checksum, length, kind = HEAD.unpack_from(data, place)
        place += HEAD.size
        part = data[place : place + length]
        assert len(part) == length, "torn"
        assert zlib.crc32(bytes([kind]) + part) == checksum, f"damage before {place}"
        assert bool(parts) == (kind not in {WHOLE, FIRST}), "pieces in order"
        place += length
        parts.append(part)
        if kind in {WHOLE, LAST}:
            found.append(b"".join(parts))
            parts = []
    assert not parts, "torn"
    return found


def main() -> None:
    found: list[tuple[str, object]] = []
    for data in records(Path(sys.argv[1]).read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        kind = record.WhichOneof("record_type")
        message = getattr(record, kind)
        if kind == "history":
            values = {item.nested_key[0]: item.value_json for item in message.item}
            found.append(("history", {"step": message.step.num, "values": values}))
        elif kind in {"summary", "config"}:
            found.append((kind, {(item.nested_key or [item.key])[0]: item.value_json for item in message.update}))
        else:
            found.append((kind, MessageToDict(message, preserving_proto_field_name=True)))
        assert record.num == len(found)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
