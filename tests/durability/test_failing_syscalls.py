"""Each system call that touches a run fails at its K-th time, for one time or from then on."""

from __future__ import annotations

import json
import random
import signal
from typing import TYPE_CHECKING

import pytest

from faults import strace
from faults.judge import judge, losses_on_record, rows_of
from faults.ledger import Entry
from faults.patience import communicate
from faults.tally import ACCEPTED, Tally

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Programs, Scale
    from faults.ledger import Ledger

METRICS = ("a", "b", "c")
CALLS = 120
OPTIONS: dict[str, object] = {
    "start": 0,
    "calls": CALLS,
    "max_block_s": 0.2,
    "max_shard_bytes": 20_000,
    "backup_count": "all",
}
# Steps between which files may not grow: writes are partial, then fail, and what was written is cut off again.
LIMITED = [41, 81]
SYSTEM_CALLS = {
    "write": "write",
    "pwrite": "pwrite64",
    "fsync": "fsync,fdatasync",
    "rename": "rename,renameat,renameat2",
    "ftruncate": "ftruncate",
    "open": "openat",
    "mmap": "mmap",
    "fallocate": "fallocate",
    "lock": "flock",
    "stat": "statx,newfstatat,fstat",
    "unlink": "unlink,unlinkat",
    "list": "getdents64",
}
OPTIONS_OF: dict[str, dict[str, object]] = {
    "pwrite": {"backing": "mirrored"},
    "ftruncate": {"limited": LIMITED},
}
# The errors of each attempt, and whether the call fails once, for a while or for good.
ERRORS = {"ENOSPC": ("", "+"), "EIO": ("", "+"), "EINTR": ("", "..{last}"), "EACCES": ("", "+"), "EDQUOT": ("", "+")}
MOST_TIMES = 30
DEADLINE_S = 60.0


@pytest.mark.parametrize("call", SYSTEM_CALLS)
def test_failing_syscalls(call: str, tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    strace.require()
    entry = Entry(f"`{call}` fails at the K-th time", longest_log_s=0)
    options = OPTIONS | OPTIONS_OF.get(call, {})
    calls = SYSTEM_CALLS[call]
    log = tmp_path / "log"
    tracing = strace.tracing(tmp_path / "run", log, calls)
    program = programs.start("workload", tmp_path / "run", tmp_path / "tally", json.dumps(options), before=tracing)
    communicate(program, DEADLINE_S)
    times = strace.spread(strace.most_calls(log), scale.times(MOST_TIMES))
    assert times, f"{call} is not called"
    for error, manners in ERRORS.items():
        for manner in manners:
            for time in times:
                when = f"{time}{manner.format(last=time + 3)}"
                torment(tmp_path / f"{error}-{when}", programs, calls, f"error={error}:when={when}", options, entry)
    ledger.enter(entry)


def torment(
    directory: Path, programs: Programs, calls: str, what: str, options: dict[str, object], entry: Entry
) -> None:
    """Run the workload with one failing call."""
    log = directory.with_suffix(".strace")
    tally = Tally(directory.with_suffix(".tally"))
    program = programs.start(
        "workload", directory, tally.path, json.dumps(options), before=strace.injecting(directory, log, calls, what)
    )
    output, errors = communicate(program, DEADLINE_S)
    told = f"{calls} {what}: {errors}"
    assert program.returncode == 0, told
    entry.attempts += strace.injected(log) > 0
    result = json.loads(output)
    if "refused" in result:
        # Nothing was accepted, and one sentence says why.
        assert tally[ACCEPTED] == 0, told
        return
    stats = result["stats"]
    judgement = judge(directory, rows_of({"main": [range(CALLS)]}, METRICS))
    told = f"{told}\n{judgement}\n{stats}"
    lost = judgement.lost - stats["rows_dropped"]
    entry.accepted += judgement.accepted
    entry.lost += abs(lost)
    entry.doubled += judgement.doubled
    entry.torn += judgement.torn
    entry.longest_log_s = max(entry.longest_log_s or 0, tally.longest_log_s())
    assert tally[ACCEPTED] == CALLS, told
    assert (lost, judgement.doubled, judgement.torn, judgement.unasked) == (0, 0, 0, 0), told
    assert (
        stats["rows_logged"]
        == CALLS * len(METRICS)
        == stats["rows_written"] + stats["rows_waiting"] + stats["rows_dropped"]
    ), told
    assert losses_on_record(directory) == stats["rows_dropped"], told
    assert stats["rows_waiting"] == 0 or not result["closed"], told


# What a recovery needs first, and what it does behind it: both fail, and then it is repeated.
FIRST = ("openat", "statx,newfstatat,fstat", "getdents64", "pread64", "read")
THEN = ("write", "fdatasync,fsync", "rename,renameat,renameat2", "pwrite64")
# Calls of a recovery, about.
MOST_CALLS = 40


def test_failing_recoveries(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    """A recovery that takes another way after one error, and fails on it, leaves the next one nothing to double."""
    strace.require()
    entry = Entry("recoveries with two calls that fail, repeated")
    chance = random.Random(1)
    for attempt in range(scale.times(200, least=6)):
        directory, tally, log = (tmp_path / f"{what}-{attempt}" for what in ("run", "tally", "log"))
        stuck = programs.start("stuck", directory, tally, chance.choice([0, 3333, 10_000]))
        _, errors = communicate(stuck, DEADLINE_S)
        assert stuck.returncode == -signal.SIGKILL, errors
        told = [str(attempt)]
        for _ in range(2):
            first, then = chance.choice(FIRST), chance.choice(THEN)
            at, behind = chance.randint(1, MOST_CALLS), chance.randint(1, 4)
            told.append(f"{first} {at}, {then} {behind}")
            calls = f"inject={then}:error=EIO:when={behind}"
            failing = strace.tracing(directory, log, f"{first},{then}", f"inject={first}:error=EIO:when={at}", calls)
            communicate(programs.start("recover", directory, before=failing), DEADLINE_S)
            entry.attempts += strace.injected(log) > 0
        judgement = judge(directory, rows_of({"main": [range(Tally(tally)[ACCEPTED])]}, ("a", "b")))
        entry.accepted += judgement.accepted
        entry.lost += judgement.lost
        entry.doubled += judgement.doubled
        entry.torn += judgement.torn
        assert (judgement.lost, judgement.doubled, judgement.torn) == (0, 0, 0), f"{told}: {judgement}"
    assert entry.attempts > 0
    ledger.enter(entry)
