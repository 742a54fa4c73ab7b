"""Programs that die before the K-th system call on a run's files, and what they must leave."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import codex_obs
from faults import strace
from faults.judge import judge
from faults.patience import communicate
from faults.tally import ACCEPTED, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import polars as pl

    from conftest import Programs
    from faults.ledger import Entry

SYSTEM_CALLS = "%file,%desc"
DEADLINE_S = 60.0


def run_and_kill(
    directory: Path,
    programs: Programs,
    moment: int,
    program: str,
    *arguments: object,
    names: Callable[[Path], list[str]] = strace.names_in,
) -> bool:
    """Run a program that is killed before its `moment`-th call. Gives whether it lived to see it."""
    log = directory.with_suffix(".log")
    killing = strace.injecting(directory, log, SYSTEM_CALLS, f"signal=SIGKILL:when={moment}", names=names)
    process = programs.start(program, *arguments, before=killing)
    _, errors = communicate(process, DEADLINE_S)
    assert process.returncode in (0, -signal.SIGKILL), f"{moment}: {errors}"
    return process.returncode != 0


def kill_two(
    scratch: Path,
    programs: Programs,
    moment: int,
    work: Mapping[str, object],
    entry: Entry,
    names: Callable[[Path], list[str]] = strace.names_in,
) -> tuple[Path, list[range]]:
    """Kill a writer of a new run, then one that begins with its rest. Gives the run and what was accepted."""
    directory = scratch / f"run-{moment}"
    accepted = []
    start = 0
    for victim in range(2):
        tally = Tally(scratch / f"tally-{moment}-{victim}")
        tally[ACCEPTED] = start
        given = json.dumps({**work, "start": start})
        entry.attempts += run_and_kill(
            directory, programs, moment, "workload", directory, tally.path, given, names=names
        )
        accepted.append(range(start, tally[ACCEPTED]))
        start = tally[ACCEPTED] + 1
        entry.longest_log_s = max(entry.longest_log_s or 0, tally.longest_log_s())
    return directory, accepted


def require_whole(directory: Path, expected: pl.DataFrame, entry: Entry, *, at_most_unasked: int) -> None:
    """Require every row that was accepted, once, no damage, and nothing left for a second recovery."""
    judgement = judge(directory, expected)
    entry.accepted += judgement.accepted
    entry.lost += judgement.lost
    entry.doubled += judgement.doubled
    entry.torn += judgement.torn + judgement.damage["tails"]
    assert (judgement.lost, judgement.doubled, judgement.torn) == (0, 0, 0), f"{directory}: {judgement}"
    assert judgement.damage == {"tails": 0, "frames": 0, "journals": 0}, f"{directory}: {judgement}"
    assert judgement.unasked <= at_most_unasked, f"{directory}: {judgement}"
    again = codex_obs.recover(directory)
    assert again == dict.fromkeys(again, 0), "a second recovery found something"
