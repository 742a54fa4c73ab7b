"""Every way in which a process ends, many times on every CPython, with a watchdog."""

from __future__ import annotations

import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from faults import interpreters
from faults.crew import crew
from faults.judge import Judgement, judge, rows_of
from faults.ledger import Entry
from faults.patience import communicate
from faults.tally import ACCEPTED, Tally

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Programs, Scale
    from faults.interpreters import Interpreter
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


def test_every_supported_cpython() -> None:
    """What follows runs on the versions that are here."""
    absent = interpreters.absent()
    if absent:
        pytest.skip(f"no CPython {', '.join(absent)} here")


@pytest.mark.parametrize("manner", MANNERS)
def test_ends(
    manner: str, interpreter: Interpreter, tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger
) -> None:
    entry = Entry(f"end by {manner}, CPython 3.{interpreter.minor}", longest_log_s=0)

    def end_one(number: int) -> tuple[Judgement, float]:
        return end(manner, interpreter, tmp_path / str(number), programs)

    with crew(TOGETHER) as pool:
        for judgement, longest_log_s in pool.map(end_one, range(scale.times(TIMES))):
            entry.attempts += 1
            entry.accepted += judgement.accepted
            entry.lost += judgement.lost
            entry.doubled += judgement.doubled
            entry.torn += judgement.torn + judgement.damage["tails"]
            entry.longest_log_s = max(entry.longest_log_s or 0, longest_log_s)
    entry.note = "0 hangs"
    ledger.enter(entry)


def end(manner: str, interpreter: Interpreter, place: Path, programs: Programs) -> tuple[Judgement, float]:
    """Let one process end in a manner. Gives what became of its rows, and its longest call of `log`."""
    place.mkdir()
    process = programs.start("ender", manner, place / "run", place / "tally", interpreter=interpreter)
    try:
        _, errors = communicate(process, WATCHDOG_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        pytest.fail(f"it hangs at its end: {process.communicate()[1]}")
    assert process.returncode == MANNERS[manner], errors
    # A word on standard error is allowed only where the program raises, is interrupted or logs to the last.
    assert not errors or manner in ("exception", "SIGINT") or "was closed" in errors, errors
    accepted = {"main": [range(CALLS)]}
    longest_log_s = Tally(place / "tally").longest_log_s()
    for path in place.glob("tally-*"):
        tally = Tally(path)
        accepted[f"worker{path.name.rpartition('-')[2]}"] = [range(tally[ACCEPTED])]
        longest_log_s = max(longest_log_s, tally.longest_log_s())
    expected = rows_of(accepted, ["value"], "metric_of").select("metric_of", "step").rename({"metric_of": "metric"})
    judgement = judge(place / "run", expected)
    judgement.require_perfect()
    # A thread may log once more after the last call that it counted.
    assert judgement.unasked <= len(accepted) - 1, str(judgement)
    shutil.rmtree(place)
    return judgement, longest_log_s
