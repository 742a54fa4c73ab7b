"""The same crashes, ends, forks and full disks for other trackers: how many accepted rows they give back."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from faults import interpreters
from faults.crew import crew
from faults.ledger import Entry
from faults.marks import END, Marks
from faults.mounts import fill, tmpfs
from faults.patience import communicate
from faults.peers import TRACKERS

if TYPE_CHECKING:
    from conftest import Programs, Scale
    from faults.ledger import Ledger

OURS = "codex_obs"
# Others pin much and want old versions: they may have an environment of their own.
OTHER_PYTHON = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
# The fault, the manner in which its process logs, and how often it is done.
FAULTS = {
    "closed": ("close", 1),
    "SIGKILL at a random moment, 200 rows/s": ("paced", 5),
    "SIGKILL at a random moment, full speed": ("full speed", 5),
    "SIGTERM after 300 rows": ("SIGTERM", 3),
    "return after 300 rows, not closed": ("return", 3),
    "exception after 300 rows": ("exception", 3),
    "`os._exit` after 300 rows": ("os._exit", 3),
    "20 forked workers log 20 rows each": ("fork", 2),
    "disk full for 300 rows, then free (tmpfs)": ("paced", 2),
}
KILLED = [fault for fault in FAULTS if fault.startswith("SIGKILL")]
FULL = next(fault for fault in FAULTS if fault.startswith("disk full"))
TOGETHER = 2
STARTED_S = 120.0
# From its first row to its death.
LONGEST_LIFE_S = 1.5
# No call ends for so long, while nothing keeps it from ending: trackio alone may take half a minute to close.
HANGS_S = 60.0
STANDS_STILL_S = 10.0
# After their parent's death processes beside it may still write.
AFTERMATH_S = 5.0


@dataclass
class Outcome:
    """What became of the rows of all attempts at a fault."""

    accepted: int = 0
    lost: int = 0
    doubled: int = 0
    raised: int = 0
    hangs: int = 0
    longest_call_s: float = 0
    unreadable: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Add what another attempt did."""
        self.accepted += other.accepted
        self.lost += other.lost
        self.doubled += other.doubled
        self.raised += other.raised
        self.hangs += other.hangs
        self.longest_call_s = max(self.longest_call_s, other.longest_call_s)
        self.unreadable += other.unreadable

    def cell(self, attempts: int) -> str:
        """Say it in a few words."""
        share = f" ({self.lost / self.accepted:.0%})" if self.lost else ""
        words = [f"{self.lost:,} of {self.accepted:,} lost{share}"]
        words += [f"{self.doubled:,} doubled"] if self.doubled else []
        words += [f"{self.raised:,} calls raised"] if self.raised else []
        words += [f"hangs {self.hangs} of {attempts} times"] if self.hangs else []
        words += [f"a call took {self.longest_call_s:.1f} s"] if self.longest_call_s >= 1 else []
        words += [f"{len(self.unreadable)} not readable"] if self.unreadable else []
        return ", ".join(words)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_other_trackers(tracker: str, tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    python = python_with(TRACKERS[tracker].package)
    if python is None:
        pytest.skip(f"{TRACKERS[tracker].package} is not installed: make peers")
    rng = random.Random(7)
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    prepare = start(programs, python, tracker, "prepare", prepared, tmp_path / "marks", silent=False)
    _, errors = communicate(prepare, STARTED_S)
    assert prepare.returncode == 0, errors
    entry = Entry(f"the faults of other trackers: {tracker}")
    with crew(TOGETHER) as pool:
        for fault, (manner, times) in FAULTS.items():
            attempts = scale.times(times)
            places = [tmp_path / f"{manner}-{len(fault)}-{number}" for number in range(attempts)]
            moments_s = [rng.uniform(0, LONGEST_LIFE_S) for _ in places]

            def attempt(place: Path, moment_s: float, fault: str = fault) -> Outcome:
                return torment(fault, python, tracker, place, prepared, programs, moment_s)

            outcome = Outcome()
            for other in pool.map(attempt, places, moments_s):
                outcome.add(other)
            ledger.compare(fault, tracker, outcome.cell(attempts))
            told = f"{fault}: {outcome}"
            if fault == "closed":
                assert outcome == Outcome(accepted=300, longest_call_s=outcome.longest_call_s), told
            if tracker == OURS:
                assert (outcome.lost, outcome.doubled, outcome.raised, outcome.hangs) == (0, 0, 0, 0), told
                assert not outcome.unreadable, told
            entry.attempts += attempts
            entry.accepted += outcome.accepted
            entry.lost += outcome.lost
            entry.doubled += outcome.doubled
    entry.verdict = "measured" if tracker != OURS else "passed"
    ledger.enter(entry)


def torment(
    fault: str, python: str, tracker: str, place: Path, prepared: Path, programs: Programs, moment_s: float
) -> Outcome:
    """Do one fault to a tracker once."""
    place.mkdir()
    marks = Marks(place / "marks")
    if fault == FULL:
        with tmpfs(place / "disk", 64) as disk:
            folder = disk / "log"
            shutil.copytree(prepared, folder)
            process = start(programs, python, tracker, FAULTS[fault][0], folder, place / "marks")
            hung = fill_and_free(process, marks, disk)
            await_aftermath(process)
            return look(python, tracker, folder, marks, programs, hung=hung)
    folder = place / "log"
    shutil.copytree(prepared, folder)
    process = start(programs, python, tracker, FAULTS[fault][0], folder, place / "marks")
    hung = False
    if fault in KILLED:
        await_calls(process, marks, 1, STARTED_S)
        threading.Event().wait(moment_s)
        process.kill()
        process.wait()
    else:
        hung = not ends(process, marks)
    await_aftermath(process)
    return look(python, tracker, folder, marks, programs, hung=hung)


def fill_and_free(process: subprocess.Popen[str], marks: Marks, disk: Path) -> bool:
    """Fill the disk while it logs, free it again, and have it end. Gives whether it hangs."""
    await_calls(process, marks, 100, STARTED_S)
    filler = fill(disk)
    await_calls(process, marks, marks.count() + 300, STANDS_STILL_S)
    filler.unlink()
    hung = not await_calls(process, marks, marks.count() + 300, HANGS_S)
    marks.command = END
    return hung or not ends(process, marks)


def look(python: str, tracker: str, folder: Path, marks: Marks, programs: Programs, *, hung: bool) -> Outcome:
    """Have the tracker read back what it kept."""
    reader = start(programs, python, tracker, "read", folder, folder / "none", silent=False)
    output, errors = communicate(reader, STARTED_S)
    accepted = marks.numbers()
    outcome = Outcome(
        accepted=len(accepted), raised=marks.count_raised(), hangs=int(hung), longest_call_s=marks.longest_call_s()
    )
    if reader.returncode != 0:
        outcome.unreadable.append(errors[-300:])
        outcome.lost = len(accepted)
        return outcome
    found = [int(number) for number in json.loads(output.splitlines()[-1])]
    outcome.lost = len(accepted - set(found))
    outcome.doubled = len(found) - len(set(found))
    return outcome


def start(
    programs: Programs, python: str, tracker: str, manner: str, folder: Path, marks: Path, *, silent: bool = True
) -> subprocess.Popen[str]:
    here = interpreters.present()[0]
    interpreter = here if python == sys.executable else interpreters.Interpreter(here.minor, here.version, python)
    return programs.start(
        "peer",
        tracker,
        manner,
        folder,
        marks,
        interpreter=interpreter,
        silent=silent,
        WANDB_SILENT="true",
        MLFLOW_LOGGING_LEVEL="ERROR",
        MLFLOW_TRACKING_URI="",
    )


def await_calls(process: subprocess.Popen[str], marks: Marks, calls: int, patience_s: float) -> bool:
    """Wait until so many calls have ended. Gives whether they did before it ended or stood still for too long."""
    seen, changed = marks.count(), time.monotonic()
    while seen < calls and process.poll() is None:
        if (now := marks.count()) != seen:
            seen, changed = now, time.monotonic()
        elif time.monotonic() > changed + patience_s:
            return False
        pause()
    return seen >= calls


def ends(process: subprocess.Popen[str], marks: Marks) -> bool:
    """Wait for a process to end, and kill it if it does nothing any more."""
    seen, changed = -1, time.monotonic()
    while process.poll() is None:
        if (now := marks.count()) != seen:
            seen, changed = now, time.monotonic()
        elif time.monotonic() > changed + (HANGS_S if seen else STARTED_S):
            process.kill()
            process.wait()
            return False
        pause()
    return True


def await_aftermath(process: subprocess.Popen[str]) -> None:
    """Give the processes that a tracker has beside the one that ended time to write, then end them too."""
    deadline = time.monotonic() + AFTERMATH_S
    with suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            pause()
        os.killpg(process.pid, signal.SIGKILL)


def pause() -> None:
    threading.Event().wait(0.02)


def python_with(package: str) -> str | None:
    """Find the Python in which a tracker is installed."""
    if package == OURS:
        return sys.executable
    for python in (sys.executable, str(OTHER_PYTHON)):
        if Path(python).exists():
            command = [python, "-c", f"import importlib.util, sys; sys.exit(not importlib.util.find_spec({package!r}))"]
            if subprocess.run(command, check=False).returncode == 0:
                return python
    return None
