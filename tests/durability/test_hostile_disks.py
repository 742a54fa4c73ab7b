"""What may happen to a run directory under a program: it never dies of it."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from faults.judge import judge, rows_of
from faults.ledger import Entry
from faults.mounts import fill, loop, require, run, shut_down
from faults.patience import communicate
from faults.tally import ACCEPTED, STATE, Tally, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Programs, Scale
    from faults.ledger import Ledger

METRICS = ("a", "b")
FAULTHANDLER = ("none", "before", "after")
# More than fit into the ring.
CALLS_AFTERWARDS = 6000
DEADLINE_S = 60.0


def truncate_journal(directory: Path) -> None:
    os.truncate(directory / ".codex_obs" / "journal-main", 0)


def delete_everything(directory: Path) -> None:
    # A file may be made in a folder that was just emptied.
    for _ in range(100):
        with suppress(OSError):
            shutil.rmtree(directory)
            return
    shutil.rmtree(directory)


def replace_shard(directory: Path) -> None:
    (directory / "foreign").write_text("someone else's\n")
    (directory / "foreign").rename(directory / "metrics.ndjson")


def make_immutable(directory: Path) -> None:
    """From now on no name in the folder may change: renames are refused."""
    run("chattr", "+i", directory)


def delete_journal(directory: Path) -> None:
    delete_everything(directory / ".codex_obs")


# What these do leaves every row that was written where it is.
HARMLESS = (truncate_journal, delete_journal, make_immutable)
ACTIONS = (truncate_journal, delete_journal, delete_everything, replace_shard, make_immutable)


@pytest.mark.parametrize("action", ACTIONS)
def test_directory_disturbed(
    action: Callable[[Path], None], tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger
) -> None:
    if action is make_immutable:
        require("chattr")
    entry = Entry(f"under a program: {action.__name__.replace('_', ' ')}")
    for round_ in range(scale.times(5)):
        for faults in FAULTHANDLER:
            directory = tmp_path / f"run-{round_}-{faults}"
            try:
                calls, dropped = survive(directory, tmp_path, programs, faults, lambda: action(directory), entry)  # noqa: B023 - used at once
            finally:
                if action is make_immutable:
                    run("chattr", "-i", directory)
            if action in HARMLESS:
                hold_against(directory, calls, dropped, entry)
    ledger.enter(entry)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_file_system_shut_down(kind: str, tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    """An I/O error shuts a file system down. (btrfs cannot be shut down this way; it is filled up.)"""
    full = kind == "btrfs"
    entry = Entry(f"{kind} {'full' if full else 'shut down by an I/O error'}")
    for round_ in range(scale.times(5)):
        for faults in FAULTHANDLER:
            with loop(tmp_path / f"disk-{round_}-{faults}", kind, 400) as disk:
                strike = fill if full else shut_down
                calls, dropped = survive(disk / "run", tmp_path, programs, faults, lambda: strike(disk), entry)  # noqa: B023 - used at once
                if full:
                    (disk / "filler").unlink()
                    hold_against(disk / "run", calls, dropped, entry)
    ledger.enter(entry)


def survive(
    directory: Path, scratch: Path, programs: Programs, faults: str, strike: Callable[[], object], entry: Entry
) -> tuple[int, int]:
    """Have a program log while something strikes. Gives its calls and the rows that it says it dropped."""
    tally = Tally(scratch / f"tally-{entry.attempts}-{faults}")
    program = programs.start("survivor", directory, tally.path, faults)
    wait_until(lambda: tally[ACCEPTED] > 500, DEADLINE_S, "it logs")
    strike()
    struck = tally[ACCEPTED]
    wait_until(
        lambda: tally[ACCEPTED] > struck + CALLS_AFTERWARDS or program.poll() is not None, DEADLINE_S, "logging goes on"
    )
    tally[STATE] = 1
    output, errors = communicate(program, DEADLINE_S)
    assert program.returncode == 0, f"it died, faulthandler {faults}: {program.returncode} {errors}"
    stats = json.loads(output)["stats"]
    accounted = stats["rows_written"] + stats["rows_waiting"] + stats["rows_dropped"]
    assert accounted == stats["rows_logged"] == 2 * tally[ACCEPTED]
    entry.attempts += 1
    entry.accepted += stats["rows_logged"]
    entry.longest_log_s = max(entry.longest_log_s or 0, tally.longest_log_s())
    return tally[ACCEPTED], stats["rows_dropped"]


def hold_against(directory: Path, calls: int, dropped: int, entry: Entry) -> None:
    """Find every row that was not counted as dropped."""
    judgement = judge(directory, rows_of({"main": [range(calls)]}, METRICS))
    entry.lost += abs(judgement.lost - dropped)
    entry.doubled += judgement.doubled
    entry.torn += judgement.torn
    assert (judgement.lost, judgement.doubled, judgement.torn) == (dropped, 0, 0), str(judgement)
