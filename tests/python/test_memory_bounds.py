"""What hostile files cost those who open, write, read and look at a run: memory that does not grow with the files."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20
LIMIT = 256 * MIB
# The same in small costs much less: this much is there before anything is read.
SMALL_LIMIT = 128 * MIB
TIMEOUT_S = 900

# What it takes beyond what the interpreter with everything imported has, and beyond the frame that it gives.
PROGRAM = """
import json, logging, sys
from pathlib import Path
import polars
import codex_obs
from codex_obs import _inspection, errors
from codex_obs._series import Series
from codex_obs.viewers import _records

def memory(of):
    return int(next(line for line in open("/proc/self/status") if line.startswith(of)).split()[1]) << 10

def log(path):
    run = codex_obs.init(path)
    run.log({"a": 1.0})
    assert run.close(timeout=300)
    assert run.stats()["rows_written"] == 1
    return 0

def framed(read):
    def call(path):
        frame = read(path)
        found["rows"] = frame.height
        return frame.estimated_size()
    return call

def curves(path):
    series = Series(path)
    series.refresh()
    keys = [curve.key for curve in series.names() if curve.kind == "number"]
    return len(series.pixels(keys[:8], pixels=800)) * 0

calls = {
    "init": lambda path: codex_obs.init(path).close() and 0,
    "log": log,
    "recover": lambda path: codex_obs.recover(path) and 0,
    "read": framed(codex_obs.read),
    "payloads": framed(codex_obs.payloads),
    "summarize": framed(codex_obs.summarize),
    "runs": lambda path: framed(codex_obs.runs)(path) and 0,
    "curves": curves,
    "spans": lambda path: json.dumps(_records.spans(Path(path))) and 0,
    "samples": lambda path: _records.samples([("run", Path(path))]) and 0,
    "inspect": lambda path: json.dumps(_inspection.inspect(Path(path))) and 0,
}
logging.disable()
base = memory("VmRSS")
every = {}
for call in sys.argv[2:]:
    Path("/proc/self/clear_refs").write_text("5")
    found, frame = {}, 0
    try:
        frame = calls[call](sys.argv[1])
    except errors.CodexObsError as error:
        found["error"] = str(error)
    found["bytes"] = memory("VmHWM") - base - frame
    every[call] = found
print(json.dumps(every))
"""
EVERYTHING = ("log", "read", "curves", "payloads", "summarize", "runs", "inspect", "recover", "init")
ROW = (
    b'{"timestamp":"2026-11-20T08:15:30.000125Z","run_id":"r1","step":%d,"split":"eval","metric":"loss","value":0.5,'
    b'"dataset":null,"tags":{}}\n'
)
START = (
    b'{"record":"start","timestamp":"2026-11-20T08:15:30.000125Z","run_id":"r1","host":"h","pid":%d,"stream":"main",'
    b'"resume_step":null,%s"at":{"shard":1,"offset":%d}}\n'
)


def measured(directory: Path, *calls: str) -> dict[str, dict[str, int | str]]:
    program = [sys.executable, "-c", PROGRAM, str(directory), *calls]
    done = subprocess.run(program, capture_output=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found: dict[str, dict[str, int | str]] = json.loads(done.stdout)
    return found


def lines(path: Path, count: int, line: Callable[[int], bytes]) -> None:
    with path.open("ab") as file:
        for start in range(0, count, 1000):
            file.write(b"".join(line(number) for number in range(start, min(start + 1000, count))))


def starts(run: Path, size: float) -> None:
    lines(run / "run.ndjson", int(1_000_000 * size), lambda number: START % (number, b"", number % 130))


def places(run: Path, size: float) -> None:
    """Every session at a place of its own, and each of them supersedes what was before it."""
    lines(run / "metrics.ndjson", 20_000, lambda number: ROW % number)
    lines(
        run / "run.ndjson",
        int(1_000_000 * size),
        lambda number: START % (number, b'"rewind_to":%d,' % number, number),
    )


def backwards(run: Path, size: float) -> None:
    count = int(1_000_000 * size)
    lines(run / "metrics.ndjson", count, lambda number: ROW % (count - number))


def nul(run: Path, size: float) -> None:
    for name in ("metrics.ndjson", "metrics.ndjson.1"):
        with (run / name).open("ab") as file:
            file.truncate(int((3 << 30) * size))


def newlines(run: Path, size: float) -> None:
    lines(run / "metrics.ndjson.1", int((300 << 20) * size / 1000), lambda _: b"\n" * 1000)


def archived_newlines(run: Path, size: float) -> None:
    with gzip.open(run / "metrics.ndjson.1.gz", "wb", 6) as file:
        for _ in range(int(1024 * size)):
            file.write(b"\n" * MIB)


def shards(run: Path, size: float) -> None:
    for number in range(1, int(20_000 * size)):
        (run / f"metrics.ndjson.{number}").write_bytes(ROW % number)


def streams(run: Path, size: float) -> None:
    for number in range(1, int(10_000 * size)):
        (run / f"metrics.pid-{number}.ndjson").write_bytes(ROW % number)
        (run / f"run.pid-{number}.ndjson").write_bytes(START % (number, b"", 0))


def long_line(run: Path, size: float) -> None:
    for name in ("metrics.ndjson", "metrics.ndjson.1"):
        with (run / name).open("ab") as file:
            file.write(b'{"metric":"')
            for _ in range(int(64 * size) + 1):
                file.write(b"A" * (16 << 20))


def deep(run: Path, size: float) -> None:
    count = int((20 << 20) * size)
    with (run / "metrics.ndjson").open("ab") as file:
        for head, item, tail in ((b'"tags":', b"[", b"]"), (b'"tags":', b'{"a":', b"}"), (b'"value":', b"[0,", b"]")):
            file.write(b'{"metric":"m",' + head + item * count + tail * count + b"}\n")
            file.write(b'{"metric":"m",' + head + item * count + b"\n")


def declared(run: Path, size: float) -> None:
    """Archives that claim a content of 1 TiB, or a part of 4 GiB that is passed over."""
    del size
    magic, end = b"\x28\xb5\x2f\xfd", (1 << 40).to_bytes(8, "little") + b"\x01\x00\x00"
    (run / "metrics.ndjson.archive-000001.zst").write_bytes(magic + bytes([0b1110_0000]) + end)
    (run / "metrics.ndjson.archive-000002.zst").write_bytes(magic + bytes([0b1100_0000, 13 << 3]) + end)
    (run / "metrics.ndjson.archive-000003.zst").write_bytes(b"\x50\x2a\x4d\x18" + b"\xff" * 4 + b"abc")
    whole = pa.compress(ROW % 5, codec="zstd", asbytes=True)
    (run / "metrics.ndjson.archive-000004.zst").write_bytes(whole + b"\x50\x2a\x4d\x18\xff\xff\xff\x7f")


INPUTS = (
    starts,
    places,
    backwards,
    nul,
    newlines,
    archived_newlines,
    shards,
    streams,
    long_line,
    deep,
    declared,
)
BESIDE = {
    "params.ndjson": b'{"$schema":"x","config":{"k%d":%d},"timestamp":"2026-11-20T08:15:30.000125Z"}\n',
    "tracking_summary.ndjson": b'{"timestamp":"2026-11-20T08:15:30.000125Z","component":"c%d","status":"degraded",'
    b'"reason":"r%d","extra":{}}\n',
    "export_names.ndjson": b'{"destination":"d","name":"n%d","sent_as":"s%d"}\n',
    "export_rejected.ndjson": b'{"destination":"d%d","kind":"metric","name":"s%d","reason":"no"}\n',
    "telemetry.ndjson": b'{"timestamp":"2026-11-20T08:15:30.000125Z","event":"thread.start","span_token":"%d",'
    b'"span_id":"b%d"}\n',
    "system_metrics.jsonl": b'{"ts":%d.0,"run_id":"r","host":"h%d"}\n',
    "metrics_manifest.ndjson": b'{"manifest_id":"manifest-%d","metric":"m%d","descriptor":{"type":"x"}}\n',
    "run.ndjson": b'{"record":"finish","status":"finished","a":%d,"b":%d}\n',
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "metrics.ndjson").write_bytes(ROW % 1)
    identity = {"run_id": "r1", "name": "hostile", "created": "2026-11-20T08:15:30.000125Z"}
    (directory / "run.json").write_text(json.dumps(identity))
    return directory


def check(found: dict[str, dict[str, int | str]], limit: int) -> None:
    assert not {call: one for call, one in found.items() if int(one["bytes"]) > limit}, found
    assert not {call: one for call, one in found.items() if "error" in one and call in ("init", "log", "recover")}


@pytest.mark.parametrize("fill", INPUTS, ids=lambda fill: fill.__name__)
def test_a_small_one_takes_little(run: Path, fill: Callable[[Path, float], None]) -> None:
    fill(run, 0.02)
    check(measured(run, "log", "read", "summarize", "inspect", "curves"), SMALL_LIMIT)


@pytest.mark.big
@pytest.mark.parametrize("fill", INPUTS, ids=lambda fill: fill.__name__)
def test_no_file_of_rows_or_sessions_takes_more_than_the_limit(run: Path, fill: Callable[[Path, float], None]) -> None:
    fill(run, 1)
    for call in EVERYTHING:
        check(measured(run, call), LIMIT)


@pytest.mark.big
@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("kind", ["lines", "line"])
def test_no_file_beside_the_rows_takes_more_than_the_limit(run: Path, name: str, kind: str) -> None:
    if kind == "line":
        with (run / name).open("wb") as file:
            file.write(b'{"timestamp":"2026-11-20T08:15:30.000125Z","run_id":"r1","config":{"a":"')
            for _ in range(64):
                file.write(b"A" * (16 << 20))
            file.write(b'"}}\n')
    else:
        line = BESIDE[name]
        lines(run / name, (1 << 30) // len(line % (10**6, 10**6)), lambda number: line % (number, number))
    for call in (*EVERYTHING, "spans", "samples"):
        check(measured(run, call), LIMIT)


@pytest.mark.parametrize(("name", "calls"), [("telemetry.ndjson", "spans"), ("system_metrics.jsonl", "samples")])
def test_what_a_page_shows_beside_curves_takes_little(run: Path, name: str, calls: str) -> None:
    lines(run / name, 100_000, lambda number: BESIDE[name] % (number, number))
    check(measured(run, calls), SMALL_LIMIT // 2)


def test_the_sessions_that_a_look_at_a_run_leaves_out_are_counted(run: Path) -> None:
    starts(run, 0.003)
    program = "import json,sys; from pathlib import Path; from codex_obs import _inspection; "
    program += "print(json.dumps(_inspection.inspect(Path(sys.argv[1]))))"
    done = subprocess.run([sys.executable, "-c", program, str(run)], capture_output=True, timeout=60, check=True)
    found = json.loads(done.stdout)
    assert [one["session"] for one in found["sessions"]] == list(range(2000, 3000))
    assert "2,000 earlier sessions are not listed" in found["problems"]
