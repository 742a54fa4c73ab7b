"""A file system whose operations fail, lie and are slow by a seed, under a logger that is killed and started again."""

from __future__ import annotations

import platform
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from faults.fuse import Mounted, fuse
from faults.fuse_control import FAULTS, PER_MILLE
from faults.judge import judge, lines_of, losses_on_record, rows_of
from faults.ledger import Entry
from faults.patience import communicate
from faults.tally import ACCEPTED, STATE, Tally, wait_until

if TYPE_CHECKING:
    from conftest import Programs, Scale
    from faults.judge import Judgement
    from faults.ledger import Ledger

METRICS = ("a", "b")
SEEDS = 100
SECONDS = 8.0
DEADLINE_S = 120.0
# After so long fewer operations fail until the run is open.
LUCK_S, FEW_PER_MILLE = 20.0, 2
# One call may be in the journal that was not counted.
GAP = 1
LOCK = "/run/.codex_obs/lock-main"
LOOKS = 16


def test_operations_fail_and_lie(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    entry = Entry("FUSE: operations fail, lie or are slow by a seed, SIGKILL between", longest_log_s=0)
    faults = 0
    for seed in range(scale.times(SEEDS, least=2)):
        with fuse(tmp_path / f"disk-{seed}", seed=seed, kept_s=(0.0, 1.0)[seed % 2]) as disk:
            torment(disk, seed, programs, entry)
            faults += disk.control[FAULTS]
    entry.note = f"{faults:,} faults"
    ledger.enter(entry)
    assert faults > 0


def test_operations_on_the_journal_fail_too(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    """Whatever the journal's file does, the rows of a process that lives are in memory, and are written."""
    entry = Entry("FUSE: operations on the journal fail, lie or are slow too, no kill", longest_log_s=0)
    faults = 0
    for seed in range(scale.times(SEEDS // 5, least=1)):
        with fuse(tmp_path / f"disk-{seed}", seed=seed, kept_s=(0.0, 1.0)[seed % 2], spares_journal=False) as disk:
            tally = Tally(tmp_path / f"tally-{seed}")
            disk.control[PER_MILLE] = random.Random(seed).choice([2, 10, 50])
            logger = programs.start("stubborn", disk.place / "run", tally.path, 0)
            ends = time.monotonic() + SECONDS / 2
            wait_until(lambda: time.monotonic() > ends or logger.poll() is not None, DEADLINE_S, "it logs")  # noqa: B023 - used at once
            disk.control[PER_MILLE] = 0
            wait_until(lambda: tally[ACCEPTED] > 0 or logger.poll() is not None, DEADLINE_S, "it logs")  # noqa: B023 - used at once
            tally[STATE] = 1
            _, errors = communicate(logger, DEADLINE_S)
            assert logger.returncode == 0, f"seed {seed}: {errors}"
            judgement = judge(disk.place / "run", rows_of({"main": [range(tally[ACCEPTED])]}, METRICS))
            add(judgement, entry)
            entry.attempts += 1
            entry.longest_log_s = max(entry.longest_log_s or 0, tally.longest_log_s())
            assert (judgement.lost, judgement.doubled, judgement.torn) == (0, 0, 0), f"seed {seed}: {judgement}"
            assert losses_on_record(disk.place / "run") == 0, f"seed {seed}"
            faults += disk.control[FAULTS]
    entry.note = f"{faults:,} faults"
    ledger.enter(entry)
    assert faults > 0


def test_names_lie(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    """Renames and deletions fail, are done although an error is answered, or are done only a moment later."""
    entry = Entry("renames and deletions fail, lie or come late by a seed, SIGKILL between", longest_log_s=0)
    liar = built(tmp_path / "liar")
    faults = 0
    for seed in range(scale.times(SEEDS // 5, least=2)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        disk = Mounted(folder, folder, Tally(tmp_path / f"control-{seed}"))
        before = (str(liar), str(seed), str(disk.control.path), str(folder))
        torment(disk, seed, programs, entry, before, per_mille=(100, 300), backup_count=("all", "1")[seed % 2])
        faults += disk.control[FAULTS]
    entry.note = f"{faults:,} faults"
    ledger.enter(entry)
    assert faults > 0


def built(program: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or platform.machine() != "x86_64":
        pytest.skip("needs a C compiler and x86-64")
    source = Path(__file__).with_name("programs") / "liar.c"
    subprocess.run([compiler, "-O1", "-Wall", "-Werror", str(source), "-o", str(program), "-lpthread"], check=True)
    control = Tally(program.with_name("tried"))
    tried = subprocess.run([program, "0", control.path, "/", sys.executable, "-c", ""], check=False)
    if tried.returncode != 0:
        pytest.skip("may not trace here")
    return program


# Operations on the files of a run, by turn: what a rotation of a 60 kB shard does among them.
SCRIPTS = {
    "a rotation whose new file cannot be created": [("create", "/run/metrics.ndjson", 2, "fail")],
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_some_operations_fail(script: str, tmp_path: Path, programs: Programs) -> None:
    log_once(tmp_path, programs, SCRIPTS[script], calls=2000)


def test_looks_at_the_lock_fail(tmp_path: Path, programs: Programs) -> None:
    """Whoever could not open the run lets go of the lock, or would take itself for another process that has it."""
    for turn in range(1, LOOKS):
        folder = tmp_path / str(turn)
        folder.mkdir()
        looks = [("getattr", LOCK, turn + more, "fail") for more in range(2)]
        log_once(folder, programs, [("create", "/run/metrics.ndjson", 1, "fail"), *looks], calls=50)


def log_once(folder: Path, programs: Programs, script: list[tuple[str, str, int, str]], calls: int) -> None:
    with fuse(folder / "disk", script=script, kept_s=0.0) as disk:
        directory = disk.place / "run"
        tally = Tally(folder / "tally")
        logger = programs.start("stubborn", directory, tally.path, 0)
        wait_until(lambda: tally[ACCEPTED] >= calls or logger.poll() is not None, DEADLINE_S, f"it logs with {script}")
        tally[STATE] = 1
        _, errors = communicate(logger, DEADLINE_S)
        assert logger.returncode == 0, f"{script}: {errors}"
        assert disk.control[FAULTS] > 0
        judge(directory, rows_of({"main": [range(tally[ACCEPTED])]}, METRICS)).require_perfect()
        assert losses_on_record(directory) == 0


def torment(
    disk: Mounted,
    seed: int,
    programs: Programs,
    entry: Entry,
    before: tuple[str, ...] = (),
    *,
    per_mille: tuple[int, ...] = (2, 10, 50),
    backup_count: str = "all",
) -> None:
    rng = random.Random(seed)
    directory = disk.place / "run"
    accepted = []
    start = 0
    ends = time.monotonic() + SECONDS
    disk.control[PER_MILLE] = rng.choice(per_mille)
    last = False
    while not last:
        last = time.monotonic() > ends
        tally = Tally(disk.place.with_name(f"{disk.place.name}-{start}"))
        tally[ACCEPTED] = start
        logger = programs.start("stubborn", directory, tally.path, start, backup_count, before=before)
        if last:
            disk.control[PER_MILLE] = 0
        until = start + rng.randrange(1, 4000)
        let_open(disk, logger, tally, start)
        wait_until(lambda: tally[ACCEPTED] >= until or logger.poll() is not None, DEADLINE_S, "it logs")  # noqa: B023 - used at once
        assert logger.poll() is None, f"seed {seed}: {logger.communicate()[1]}"
        if last:
            tally[STATE] = 1
            _, errors = communicate(logger, DEADLINE_S)
            assert logger.returncode == 0, f"seed {seed}: {errors}"
        else:
            logger.kill()
            logger.communicate()
        accepted.append(range(start, tally[ACCEPTED]))
        start = tally[ACCEPTED] + GAP
        entry.attempts += 1
        entry.longest_log_s = max(entry.longest_log_s or 0, tally.longest_log_s())
    judgement = judge(directory, rows_of({"main": accepted}, METRICS))
    add(judgement, entry)
    assert (judgement.lost, judgement.doubled, judgement.torn) == (0, 0, 0), f"seed {seed}: {judgement}"
    assert losses_on_record(directory) == 0, f"seed {seed}"
    # The folder itself, without the file system between.
    assert lines_of(disk.backing / "run") == (judgement.found, 0), f"seed {seed}"


def let_open(disk: Mounted, logger: subprocess.Popen[str], tally: Tally, start: int) -> None:
    """Have fewer operations fail if it could not open the run: with one in twenty, a hundred in a row take luck."""
    ends, per_mille = time.monotonic() + LUCK_S, disk.control[PER_MILLE]

    def is_open() -> bool:
        return tally[ACCEPTED] > start or logger.poll() is not None

    wait_until(lambda: is_open() or time.monotonic() > ends, DEADLINE_S, "it opens the run")
    if not is_open():
        disk.control[PER_MILLE] = min(per_mille, FEW_PER_MILLE)
        wait_until(is_open, DEADLINE_S, "it opens the run once fewer operations fail")
        disk.control[PER_MILLE] = per_mille


def add(judgement: Judgement, entry: Entry) -> None:
    entry.accepted += judgement.accepted
    entry.lost += judgement.lost
    entry.doubled += judgement.doubled
    entry.torn += judgement.torn
