"""A run directory that is copied at any moment, while it is written and rotated, holds no row twice."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import polars as pl

import codex_obs
from faults.ledger import Entry
from faults.tally import ACCEPTED, Tally, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Programs, Scale
    from faults.ledger import Ledger

KEY = ["stream", "split", "metric", "step"]
# A writer starts anew after so many copies, so that the directory stays small.
COPIES_PER_RUN = 20
# Rotations every second or every few seconds. At full speed a directory grows faster than it is copied.
CALLS_PER_S = (1000, 5000)
DEADLINE_S = 180.0


def test_copies_of_a_live_run(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    entry = Entry("cp -r of a live run, read beside it")
    rng = random.Random(1)
    copies = scale.times(200, least=3)
    for first in range(0, copies, COPIES_PER_RUN):
        copy_one_run(tmp_path, first, min(COPIES_PER_RUN, copies - first), programs, rng, entry)
    ledger.enter(entry)


def copy_one_run(folder: Path, first: int, copies: int, programs: Programs, rng: random.Random, entry: Entry) -> None:
    directory = folder / f"run-{first}"
    tally = Tally(folder / f"tally-{first}")
    logger = programs.start("logger", directory, tally.path, 0, 0, rng.choice(CALLS_PER_S))
    for number in range(copies):
        before = tally[ACCEPTED]
        until = before + int(10 ** rng.uniform(0, 3))
        wait_until(lambda: tally[ACCEPTED] >= until or logger.poll() is not None, DEADLINE_S, "it logs")  # noqa: B023
        assert logger.poll() is None, logger.communicate()[1]
        copy = folder / f"copy-{first + number}"
        # Files vanish while it looks at them.
        subprocess.run(["cp", "-r", directory, copy], check=False, stderr=subprocess.DEVNULL)
        # It would write the more the longer the copy is read, and each copy would take longer than the one before.
        logger.send_signal(signal.SIGSTOP)
        for _ in range(2):
            rows = codex_obs.read(copy).with_columns(pl.col("stream", "split", "metric").cast(pl.String)).select(KEY)
            doubled = rows.height - rows.unique().height
            entry.attempts += 1
            entry.accepted += rows.height
            entry.doubled += doubled
            assert doubled == 0, f"{copy}: {doubled} of {rows.height} rows are there twice"
        # What goes on in a copy goes on behind all of its rows.
        with codex_obs.init(copy, backup_count="all") as run:
            run.log({"a": 0.0}, step=-1)
        again = codex_obs.read(copy).select(pl.col("step"))
        assert (again.height, (again["step"] == -1).sum()) == (rows.height + 1, 1)
        shutil.rmtree(copy)
        logger.send_signal(signal.SIGCONT)
    logger.kill()
    logger.communicate()
    shutil.rmtree(directory)
