"""Readers while the writer rotates, and other programs that rotate its files."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import polars as pl
import pytest

import codex_obs
from faults.judge import judge, rows_of
from faults.ledger import Entry
from faults.patience import communicate
from faults.tally import ACCEPTED, FLUSHED, STATE, Tally, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Programs, Scale
    from faults.ledger import Ledger

METRICS = ("a", "b", "c")
DEADLINE_S = 60.0
CALLS_PER_S = 4000
FASTER_CALLS_PER_S = 20_000
# Between two rotations by another program.
CALLS = 400
READS = 300
ROTATIONS = 100


def test_reader_while_the_writer_rotates(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    directory, tally = tmp_path / "run", Tally(tmp_path / "tally")
    options = {"calls_per_s": CALLS_PER_S, "max_shard_bytes": 64 << 10, "backup_count": "all"}
    program = programs.start("paced", directory, tally.path, json.dumps(options))
    wait_until(lambda: tally[FLUSHED] > 0, DEADLINE_S, "rows are written")
    entry = Entry("`read` in a loop while the writer rotates every 64 KiB")
    for _ in range(scale.times(READS)):
        flushed = tally[FLUSHED]
        rows = codex_obs.read(directory).select(pl.col("metric").cast(pl.String), "step")
        entry.attempts += 1
        entry.doubled += int(rows.is_duplicated().sum())
        for metric in METRICS:
            steps: list[int] = rows.filter(pl.col("metric") == metric)["step"].to_list()
            # The snapshot may end within a call, so that the last step is there for some metrics only.
            entry.lost += max(flushed, max(steps, default=-1) + 1) - len(set(steps))
        assert (entry.doubled, entry.lost) == (0, 0), f"{flushed}: {rows.tail(5)}"
    finish(program, tally, directory, entry)
    assert stats_of(program)["rotations"] > 0
    ledger.enter(entry)


@pytest.mark.parametrize("tool", ["rename", "logrotate rename"])
def test_external_rename(tool: str, tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    entry = Entry(f"files renamed by another program ({tool})")
    directory = tmp_path / "run"
    rotate = renamer(directory) if tool == "rename" else logrotate(directory, tmp_path, "nocreate")
    rotate_while_logging(directory, tmp_path, programs, scale, rotate, entry)
    assert entry.lost == 0
    ledger.enter(entry)


@pytest.mark.parametrize("tool", ["copytruncate", "logrotate copytruncate"])
def test_external_copytruncate(tool: str, tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    """What the tool cuts between its copy and its cut is lost by the tool; nothing else may be."""
    entry = Entry(f"files cut by another program ({tool})")
    directory = tmp_path / "run"
    rotate = copier(directory) if tool == "copytruncate" else logrotate(directory, tmp_path, "copytruncate")
    rotate_while_logging(directory, tmp_path, programs, scale, rotate, entry)
    if entry.lost:
        entry.note = f"{entry.lost:,} rows came between the tool's copy and its cut"
        entry.lost = 0
    ledger.enter(entry)


def rotate_while_logging(
    directory: Path, scratch: Path, programs: Programs, scale: Scale, rotate: Callable[[], None], entry: Entry
) -> None:
    tally = Tally(scratch / "tally")
    options = {
        "calls_per_s": FASTER_CALLS_PER_S,
        "max_shard_bytes": None,
        "max_shard_age_s": None,
        "backup_count": "all",
    }
    program = programs.start("paced", directory, tally.path, json.dumps(options))
    for _ in range(scale.times(ROTATIONS)):
        flushed = tally[FLUSHED]
        wait_until(lambda: tally[FLUSHED] > flushed + CALLS, DEADLINE_S, "writing goes on")  # noqa: B023 - used at once
        rotate()
        entry.attempts += 1
    flushed = tally[FLUSHED]
    wait_until(lambda: tally[FLUSHED] > flushed, DEADLINE_S, "writing goes on")
    finish(program, tally, directory, entry)


def finish(program: subprocess.Popen[str], tally: Tally, directory: Path, entry: Entry) -> None:
    tally[STATE] = 1
    output, errors = communicate(program, DEADLINE_S)
    assert program.returncode == 0, errors
    told = json.loads(output)
    _stats[program.pid] = told["stats"]
    assert told["closed"]
    assert (told["stats"]["rows_dropped"], told["stats"]["rows_waiting"]) == (0, 0)
    if entry.fault.startswith("files cut"):
        cut_copies(directory)
    judgement = judge(directory, rows_of({"main": [range(tally[ACCEPTED])]}, METRICS))
    entry.accepted += judgement.accepted
    entry.lost += judgement.lost
    entry.doubled += judgement.doubled
    entry.torn += judgement.torn + judgement.damage["tails"]
    entry.longest_log_s = tally.longest_log_s()
    assert (judgement.doubled, entry.torn, judgement.unasked) == (0, 0, 0), str(judgement)


def cut_copies(directory: Path) -> None:
    """Take the piece of a line off the end of each copy that the tool made while its rest was being written."""
    for copy in directory.glob("metrics.ndjson.*"):
        content = copy.read_bytes()
        if not content.endswith(b"\n"):
            copy.write_bytes(content[: content.rfind(b"\n") + 1])


_stats: dict[int, dict[str, int]] = {}


def stats_of(program: subprocess.Popen[str]) -> dict[str, int]:
    return _stats[program.pid]


def renamer(directory: Path) -> Callable[[], None]:
    done = iter(range(10_000, 0, -1))

    def rotate() -> None:
        (directory / "metrics.ndjson").rename(directory / f"metrics.ndjson.{next(done)}")

    return rotate


def copier(directory: Path) -> Callable[[], None]:
    done = iter(range(10_000, 0, -1))

    def rotate() -> None:
        log = directory / "metrics.ndjson"
        shutil.copyfile(log, directory / f"metrics.ndjson.{next(done)}")
        with log.open("r+b") as file:
            file.truncate(0)

    return rotate


def logrotate(directory: Path, scratch: Path, manner: str) -> Callable[[], None]:
    tool = shutil.which("logrotate")
    if tool is None:
        pytest.skip("needs logrotate")
    config, state = scratch / "logrotate.conf", scratch / "logrotate.state"
    config.write_text(f"{directory}/metrics.ndjson {{\n  rotate 100000\n  {manner}\n  missingok\n  nocompress\n}}\n")
    config.chmod(0o600)

    def rotate() -> None:
        subprocess.run([tool, "-f", "-s", state, config], check=True)

    return rotate
