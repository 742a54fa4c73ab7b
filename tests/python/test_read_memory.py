"""What hostile files cost a reader: memory that is bounded whatever they hold, and an error that names the limit."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from codex_obs import errors, reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT_MIB = 256

READER = """
import json, sys
from codex_obs import errors, reading
try:
    frame = getattr(reading, sys.argv[1])(sys.argv[2])
    found = {"rows": frame.height, "frame": frame.estimated_size()}
except errors.CodexObsError as error:
    found = {"error": str(error), "frame": 0}
# Of this process alone: what getrusage gives counts the one that it was started from.
found["peak"] = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) << 10
print(json.dumps(found))
"""


def measured(function: str, directory: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", READER, function, str(directory)], capture_output=True, timeout=300, check=True
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def long_names() -> Iterator[bytes]:
    for number in range(400):
        yield b'{"metric":"%d' % number + b"A" * (1 << 20) + b'","value":1}\n'


def many_names() -> Iterator[bytes]:
    for start in range(0, 800_000, 1000):
        yield b"".join(b'{"metric":"m%d","value":1}\n' % number for number in range(start, start + 1000))


def many_long_splits() -> Iterator[bytes]:
    for number in range(60_000):
        yield b'{"metric":"m","value":1,"split":"%d' % number + b"s" * 4000 + b'"}\n'


def long_phases() -> Iterator[bytes]:
    texts = b'"phase":"' + b"p" * 4000 + b'","manifest_id":"' + b"i" * 4000 + b'"'
    for number in range(30_000):
        yield b'{"metric":"m%d","value":1,"tags":{' % number + texts + b"}}\n"


def spread_values() -> Iterator[bytes]:
    for number in range(150_000):
        yield b'{"metric":"m%d","value":1e-300}\n{"metric":"m%d","value":1e300}\n' % (number, number)


def one_line() -> Iterator[bytes]:
    for _ in range(24):
        yield bytes(16 << 20)


@pytest.mark.parametrize("function", ["summarize", "read"])
@pytest.mark.parametrize("content", [long_names, many_names, many_long_splits, long_phases, spread_values, one_line])
def test_memory_stays_below_its_limit(tmp_path: Path, content: object, function: str) -> None:
    if function == "read" and content is long_phases:
        pytest.skip("the frame has these texts")
    (tmp_path / "metrics.ndjson").write_text('{"metric":"m","value":1}\n')
    with gzip.open(tmp_path / "metrics.ndjson.1.gz", "wb", 1) as file:
        for part in content():  # type: ignore[operator]
            file.write(part)
    found = measured(function, tmp_path)
    assert isinstance(found["peak"], int)
    assert isinstance(found["frame"], int)
    assert found["peak"] - found["frame"] < LIMIT_MIB << 20, found
    if content is many_names:
        limit = {"summarize": 128, "read": 96}[function]
        assert f"{limit} MiB, the limit of one reading" in str(found["error"])


def test_a_reading_of_too_many_groups_is_an_error_and_not_a_part_of_a_table(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "metrics.ndjson.1.gz", "wb", 1) as file:
        for part in many_names():
            file.write(part)
    with pytest.raises(errors.CodexObsError, match="read fewer of its files at once"):
        reading.summarize(tmp_path)


def test_a_window_that_takes_too_much_memory_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.ndjson").write_text('{"metric":"m","value":1}\n')
    # A frame's header that asks for a window of 2 GiB, and an empty last block.
    (tmp_path / "metrics.ndjson.1.zst").write_bytes(b"\x28\xb5\x2f\xfd\x00" + bytes([21 << 3]) + b"\x01\x00\x00")
    path = tmp_path / "metrics.ndjson.2.zst"
    path.write_bytes(pa.compress(b'{"metric":"m","value":2}\n', codec="zstd", asbytes=True))
    frame, report = reading.summarize_files([tmp_path])
    assert frame["count"].to_list() == [2]
    ((file, _, reason),) = report.skipped_examples
    assert file == str(tmp_path / "metrics.ndjson.1.zst")
    assert reason.startswith("decompressing it takes more than 64 MiB of memory")


@pytest.mark.parametrize(("function", "names"), [("summarize", 250_000), ("read", 450_000)])
def test_memory_stays_below_its_limit_with_as_many_names_as_one_reading_takes(
    tmp_path: Path, function: str, names: int
) -> None:
    with gzip.open(tmp_path / "metrics.ndjson.gz", "wb", 1) as file:
        for start in range(0, names, 1000):
            lines = (b'{"metric":"%06d/weight_norm","value":1}\n' % number for number in range(start, start + 1000))
            file.write(b"".join(lines))
    found = measured(function, tmp_path)
    assert found["rows"] == names
    assert isinstance(found["peak"], int)
    assert isinstance(found["frame"], int)
    assert found["peak"] - found["frame"] < LIMIT_MIB << 20, found


def test_groups_that_every_thread_meets_leave_room_for_as_many_of_them(tmp_path: Path) -> None:
    row = (
        '{"$schema":"https://codexml.ai/schemas/run_metrics.schema.json","schema_version":"v1","timestamp":'
        '"2026-11-20T08:15:30.000125Z","run_id":"r1","step":%d,"split":"train","metric":"%06d/weight_norm","value":0.5,'
        '"dataset":null,"tags":{}}\n'
    )
    with (tmp_path / "metrics.ndjson").open("w") as file:
        for step in range(2):
            file.writelines(row % (step, name) for name in range(200_000))
    frame = reading.summarize(tmp_path)
    assert (frame.height, frame["count"].unique().to_list()) == (200_000, [2])


@pytest.mark.parametrize("files", [2, 4])
def test_groups_of_several_compressed_files_count_once_however_many_threads_meet_them(
    tmp_path: Path, files: int
) -> None:
    """Each file is read by one thread from its start to its end, so that no thread can leave the rest to another."""
    for number in range(1, files + 1):
        with gzip.open(tmp_path / f"metrics.ndjson.{number}.gz", "wb", 1) as file:
            for start in range(0, 200_000, 1000):
                lines = (b'{"metric":"%06d/weight_norm","value":1}\n' % name for name in range(start, start + 1000))
                file.write(b"".join(lines))
    found = measured("summarize", tmp_path)
    assert found["rows"] == 200_000, found
    assert isinstance(found["peak"], int)
    assert found["peak"] < LIMIT_MIB << 20, found
