"""Every way in which a process ends, many times, with a watchdog."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from faults.judge import judge, rows_of
from faults.ledger import Entry
from faults.tally import ACCEPTED, Tally

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Programs, Scale
    from faults.ledger import Ledger

CALLS = 300
# The manner and the status it ends with.
MANNERS = {
    "return": 0,
    "exception": 1,
    "SIGTERM": -signal.SIGTERM,
    "SIGINT": -signal.SIGINT,
    "os._exit": 7,
    "sys.exit": 3,
    "sys.exit in a thread": 0,
    "multiprocessing fork": 0,
    "multiprocessing forkserver": 0,
    "multiprocessing spawn": 0,
    "finalisation with 8 logging threads": 0,
}
TIMES = 500
# A process that takes longer has hung: closing alone may take five seconds.
WATCHDOG_S = 60.0
TOGETHER = 4


@pytest.mark.parametrize("manner", MANNERS)
def test_ends(manner: str, tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    entry = Entry(f"end by {manner}", longest_log_s=0)
    times = scale.times(TIMES)
    hangs = 0
    for first in range(0, times, TOGETHER):
        numbers = range(first, min(first + TOGETHER, times))
        started = [programs.start("ender", manner, tmp_path / f"run-{n}", tmp_path / f"tally-{n}") for n in numbers]
        for number, process in zip(numbers, started, strict=True):
            try:
                _, errors = process.communicate(timeout=WATCHDOG_S)
            except subprocess.TimeoutExpired:
                hangs += 1
                process.send_signal(signal.SIGABRT)
                raise
            assert process.returncode == MANNERS[manner], errors
            # A word on standard error is allowed only where the program raises, is interrupted or logs to the last.
            assert not errors or manner in ("exception", "SIGINT") or "was closed" in errors, errors
            check(tmp_path / f"run-{number}", tmp_path, number, entry)
    entry.note = f"{hangs} hangs"
    ledger.enter(entry)


def check(directory: Path, scratch: Path, number: int, entry: Entry) -> None:
    accepted = {"main": [range(CALLS)]}
    for path in scratch.glob(f"tally-{number}-*"):
        tally = Tally(path)
        accepted[f"worker{path.name.rpartition('-')[2]}"] = [range(tally[ACCEPTED])]
        entry.longest_log_s = max(entry.longest_log_s or 0, tally.longest_log_s())
    expected = rows_of(accepted, ["value"], "metric_of").select("metric_of", "step").rename({"metric_of": "metric"})
    judgement = judge(directory, expected)
    entry.attempts += 1
    entry.accepted += judgement.accepted
    entry.lost += judgement.lost
    entry.doubled += judgement.doubled
    entry.torn += judgement.torn + judgement.damage["tails"]
    judgement.require_perfect()
    # A thread may log once more after the last call that it counted.
    assert judgement.unasked <= len(accepted) - 1, str(judgement)
