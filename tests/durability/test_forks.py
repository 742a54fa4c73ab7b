"""Forks of every kind: nobody hangs, nothing is lost or doubled on either side."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from faults import strace
from faults.judge import judge
from faults.ledger import Entry
from faults.patience import communicate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Programs, Scale
    from faults.interpreters import Interpreter
    from faults.ledger import Ledger

# The manner, its name in the table and the number of forks.
MANNERS = {
    "forks_alone": ("fork while no other thread runs", 400),
    "forks_while_threads_log": ("fork while 4 threads log, half a core", 2000),
    "forks_of_forks": ("fork of a fork while 4 threads log", 400),
    "clones_without_hooks": ("`clone` without hooks", 400),
    "loader_workers": ("workers of a data loader, ended by SIGTERM", 200),
}
THREADED = ("forks_while_threads_log", "forks_of_forks", "loader_workers")
FORKS_PER_RUN = 100
DEADLINE_S = 300.0
QUOTA_GROUP = Path("/sys/fs/cgroup/cpu/codex-obs-durability")


@pytest.mark.parametrize("manner", MANNERS)
def test_forks(
    manner: str, interpreter: Interpreter, tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger
) -> None:
    name, forks = MANNERS[manner]
    entry = Entry(f"{name}, CPython 3.{interpreter.minor}")
    total = scale.times(forks, least=4)
    with half_a_core() as group:
        for first in range(0, total, FORKS_PER_RUN):
            quota = group if manner == "forks_while_threads_log" else None
            number = min(FORKS_PER_RUN, total - first)
            directory = tmp_path / f"run-{first}"
            torment(manner, directory, programs, number, entry, quota=quota, interpreter=interpreter)
        if group is None and manner == "forks_while_threads_log":
            entry.note += "; no quota: control groups cannot be written"
    ledger.enter(entry)


def test_fork_while_the_disk_hangs(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    """Every write takes half a second: a fork waits a tenth of it at most."""
    strace.require()
    entry = Entry("fork while every write takes 0.5 s")
    directory = tmp_path / "run"
    slow = strace.injecting(directory, tmp_path / "log", "write", "delay_enter=500000")
    torment("forks_while_threads_log", directory, programs, scale.times(100, least=4), entry, before=slow)
    ledger.enter(entry)


@pytest.mark.parametrize(("threads", "silent"), [("codex-obs-", True), ("", False)])
def test_our_threads_leave_the_main_heap_alone(
    threads: str, *, silent: bool, tmp_path: Path, programs: Programs
) -> None:
    """A clone without hooks copies the locks of the heap as they are: our threads must hold none of those."""
    watch = build_heap_watch(tmp_path / "heap_watch.so")
    program = programs.start(
        "forker", "clones_without_hooks", tmp_path / "run", 60, LD_PRELOAD=str(watch), HEAP_WATCH=threads
    )
    _, errors = communicate(program, DEADLINE_S)
    assert program.returncode == 0, errors
    # Where every thread is watched, the first one is seen.
    assert (errors == "") == silent, errors


def build_heap_watch(library: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or platform.libc_ver()[0] != "glibc":
        pytest.skip("needs a C compiler and glibc")
    source = Path(__file__).with_name("programs") / "heap_watch.c"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", str(source), "-o", str(library), "-ldl"], check=True)
    return library


def torment(
    manner: str,
    directory: Path,
    programs: Programs,
    forks: int,
    entry: Entry,
    *,
    quota: Path | None = None,
    before: tuple[str, ...] = (),
    interpreter: Interpreter | None = None,
) -> None:
    options = ["-W", "error::DeprecationWarning"]
    if manner in THREADED:
        # From Python 3.12 on a fork beside threads warns of them. These are the program's own.
        options += ["-W", "ignore:This process:DeprecationWarning"]
    program = programs.start(
        "forker", manner, directory, forks, before=before, options=tuple(options), interpreter=interpreter
    )
    if quota is not None:
        (quota / "cgroup.procs").write_text(str(program.pid))
    output, errors = communicate(program, DEADLINE_S)
    assert program.returncode == 0, errors
    assert not errors, errors
    told = json.loads(output)
    assert told["closed"]
    expected = pl.concat(
        [
            pl.DataFrame({"metric": [metric]}).join(
                pl.DataFrame({"step": pl.Series(list(range(rows)), dtype=pl.Int64)}), how="cross"
            )
            for metric, rows in told["accepted"].items()
        ]
    )
    judgement = judge(directory, expected)
    entry.attempts += forks
    entry.accepted += judgement.accepted
    entry.lost += judgement.lost
    entry.doubled += judgement.doubled
    entry.torn += judgement.torn + judgement.damage["tails"]
    entry.note = f"{told['hangs']} hangs"
    judgement.require_perfect()
    assert (judgement.unasked, told["hangs"]) == (0, 0), str(judgement)


@contextmanager
def half_a_core() -> Iterator[Path | None]:
    """Give a control group whose processes have half a core, or None where there can be none."""
    try:
        QUOTA_GROUP.mkdir()
        (QUOTA_GROUP / "cpu.cfs_quota_us").write_text("50000")
    except OSError:
        yield None
        return
    try:
        yield QUOTA_GROUP
    finally:
        QUOTA_GROUP.rmdir()
