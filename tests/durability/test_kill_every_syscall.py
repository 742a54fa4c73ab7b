"""SIGKILL before every system call on a run's files, while it logs, rotates and recovers."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

from faults import strace
from faults.judge import rows_of
from faults.killing import DEADLINE_S, SYSTEM_CALLS, kill_two, require_whole, run_and_kill
from faults.ledger import Entry
from faults.patience import communicate

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Programs, Scale
    from faults.ledger import Ledger

METRICS = ("a", "b", "c")
CALLS = 60
OPTIONS: dict[str, object] = {"max_shard_bytes": 10_000, "backup_count": "all", "fsync": "always"}


def test_kill_every_syscall(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    """Each victim continues what the victim before it left, so that it begins with a recovery."""
    entry = Entry("SIGKILL at every system call, with rotation and recovery", longest_log_s=0)
    strace.require()
    for moment in moments(tmp_path, programs, scale):
        directory, accepted = kill_two(tmp_path, programs, moment, OPTIONS | {"calls": CALLS}, entry)
        check(directory, accepted, entry, at_most_unasked=2 * len(METRICS))
    ledger.enter(entry)


def test_kill_every_syscall_of_recover(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    """What a dead writer left is recovered by one process after another, each killed one call later than the last."""
    strace.require()
    entry = Entry("SIGKILL at every system call of `recover`, again and again")
    last = len(moments_of_recovery(tmp_path, programs))
    every = max(1, round(last / scale.times(last, least=10)))
    for again in (False, True):
        # Either each recovery begins with what the writer left, or with what all recoveries before it left.
        directory = tmp_path / f"run-{again}"
        for moment in range(1, last + 1, every):
            if not again:
                directory = tmp_path / f"run-{moment}"
            if not directory.exists():
                leave_a_journal(directory, programs)
            entry.attempts += run_and_kill(directory, programs, moment, "recover", directory)
            if not again:
                check(directory, [range(CALLS)], entry, at_most_unasked=0)
        check(directory, [range(CALLS)], entry, at_most_unasked=0)
    ledger.enter(entry)


def moments(scratch: Path, programs: Programs, scale: Scale) -> list[int]:
    directory, log = scratch / "whole", scratch / "log"
    work = json.dumps(OPTIONS | {"start": 0, "calls": CALLS})
    tracing = strace.tracing(directory, log, SYSTEM_CALLS)
    process = programs.start("workload", directory, scratch / "tally", work, before=tracing)
    _, errors = communicate(process, DEADLINE_S)
    assert process.returncode == 0, errors
    last = strace.most_calls(log)
    return strace.spread(last, scale.times(last, least=10))


def moments_of_recovery(scratch: Path, programs: Programs) -> list[int]:
    directory, log = scratch / "whole", scratch / "log"
    leave_a_journal(directory, programs)
    process = programs.start("recover", directory, before=strace.tracing(directory, log, SYSTEM_CALLS))
    output, errors = communicate(process, DEADLINE_S)
    assert process.returncode == 0, errors
    assert json.loads(output)["rows_recovered"] > 0, "there was nothing to recover"
    return list(range(1, strace.most_calls(log) + 1))


def leave_a_journal(directory: Path, programs: Programs) -> None:
    """Have a process log at once and die before its writer is done."""
    process = programs.start("dier", directory, CALLS)
    communicate(process, DEADLINE_S)
    assert process.returncode == -signal.SIGKILL


def check(directory: Path, accepted: list[range], entry: Entry, *, at_most_unasked: int) -> None:
    expected = rows_of({"main": accepted}, METRICS)
    if not list(directory.glob("metrics*")):
        # It died before there was a log.
        assert expected.is_empty()
        return
    require_whole(directory, expected, entry, at_most_unasked=at_most_unasked)
