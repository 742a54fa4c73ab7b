"""Every prefix of a shard and every state of a rotation that was cut short: the reader gives exactly the whole rows."""

from __future__ import annotations

import itertools
import json
import shutil
from typing import TYPE_CHECKING

import polars as pl

import codex_obs
from codex_obs import reading
from faults.ledger import Entry

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Scale
    from faults.ledger import Ledger

ROWS = 12
SHARDS = 5


def test_prefixes(tmp_path: Path, fast_dir: Path, scale: Scale, ledger: Ledger) -> None:
    entry = Entry("every byte prefix of a shard")
    whole = log_rows(tmp_path / "run")
    ends = [0, *(at + 1 for at, byte in enumerate(whole) if byte == ord("\n"))]
    log = fast_dir / "run" / "metrics.ndjson"
    log.parent.mkdir()
    every = 1 if scale.factor >= 1 else 3
    for length in range(0, len(whole) + 1, every):
        log.write_bytes(whole[:length])
        # A whole line that only lacks its newline is a row.
        rows = sum(end <= length for end in ends[1:]) + (length + 1 in ends)
        seen = codex_obs.read(log.parent)
        _, report = reading.summarize_files([log.parent])
        entry.attempts += 1
        entry.accepted += rows
        entry.lost += abs(rows - seen.height)
        assert seen["step"].to_list() == list(range(rows)), f"prefix of {length}"
        assert report.skipped == (length not in ends and length + 1 not in ends), f"prefix of {length}"
        if length % 16 == 0:
            entry.attempts += 1
            continue_log(log.parent, rows)
    ledger.enter(entry)


def test_crash_states_of_rotation(fast_dir: Path, ledger: Ledger) -> None:
    """Shards move up one by one from the highest number down: a death between two renames loses and doubles nothing."""
    entry = Entry("every crash state of a rotation")
    for shards, gap in itertools.product(range(SHARDS), range(SHARDS)):
        for done in range(shards + 2):
            directory = fast_dir / f"run-{shards}-{gap}-{done}"
            directory.mkdir()
            names = ["metrics.ndjson", *(f"metrics.ndjson.{number}" for number in range(1, shards + 1))]
            if 0 < gap < len(names):
                # A rotation fills the first gap and moves nothing above it.
                names.remove(f"metrics.ndjson.{gap}")
            for age, name in enumerate(reversed(names)):
                (directory / name).write_text("".join(row(step) for step in (2 * age, 2 * age + 1)))
            rows = 2 * len(names)
            moves = [name for name in reversed(names) if gap == 0 or gap >= len(names) + 1 or number_of(name) < gap]
            for name in moves[:done]:
                (directory / name).rename(directory / f"metrics.ndjson.{number_of(name) + 1}")
            entry.attempts += 1
            entry.accepted += rows
            seen = codex_obs.read(directory)["step"].to_list()
            entry.lost += len(set(range(rows)) - set(seen))
            entry.doubled += len(seen) - len(set(seen))
            assert seen == list(range(rows)), f"{sorted(path.name for path in directory.iterdir())}"
            continue_log(directory, rows)
            shutil.rmtree(directory)
    ledger.enter(entry)


def continue_log(directory: Path, rows: int) -> None:
    """Go on in a copy of a torn directory: every whole row stays, and the new ones stand by themselves."""
    copy = directory.with_name(directory.name + "-continued")
    shutil.copytree(directory, copy)
    with codex_obs.init(copy, max_shard_bytes=600, backup_count="all", fsync="never", ring_bytes=256 << 10) as run:
        for step in range(rows, rows + 3):
            run.log({"loss": 0.5}, step=step)
    seen = codex_obs.read(copy)["step"].to_list()
    assert seen == list(range(rows + 3)), f"{sorted(copy.iterdir())}: {seen}"
    _, report = reading.summarize_files([copy])
    assert report.skipped == 0
    shutil.rmtree(copy)


def log_rows(directory: Path) -> bytes:
    with codex_obs.init(directory, run_id="r1") as run:
        for step in range(ROWS):
            tags = {"text": 'a "quoted" brace } \u00e9'} if step % 3 == 0 else None
            run.log({"loss": step * 0.5}, step=step, dataset="data\\", tags=tags)
    assert pl.read_ndjson(directory / "metrics.ndjson").height == ROWS
    return (directory / "metrics.ndjson").read_bytes()


def row(step: int) -> str:
    fields = {
        "timestamp": f"2026-01-01T00:00:{step:02}.000000Z",
        "run_id": "r1",
        "step": step,
        "metric": "loss",
        "value": 0.5,
    }
    return json.dumps(fields, separators=(",", ":")) + "\n"


def number_of(name: str) -> int:
    return int(name.removeprefix("metrics.ndjson").lstrip(".") or 0)
