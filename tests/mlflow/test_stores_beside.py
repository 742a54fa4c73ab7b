"""MLflow's stores beside a live trainer: every point is there once, whichever of both is killed."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import codex_obs
from rig.case import lines_of
from rig.comparison import NONE, differences, expected_points
from rig.store import Worker, count, points_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.mlflow
TRAINER = """
import pathlib, sys, time
import codex_obs

ends = pathlib.Path({ends!r})
run = codex_obs.init({run!r}, mlflow_tracking_uri={uri!r}, resume="allow", config={{"lr": 0.5}}, export_interval_s=0.05)
while not ends.exists():
    run.log({{"loss": 0.25, "acc": 0.5}})
    time.sleep(0.02)
run.close(300)
"""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker(tmp_path_factory.mktemp("beside"))
    yield worker
    worker.close()


def beside(folder: Path) -> list[int]:
    """The processes beside trainers in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_one = b"-m\0codex_obs.sidecar" in (process / "cmdline").read_bytes()
            if is_one and (process / "cwd").readlink() == folder:
                found.append(int(process.name))
    return found


class Torment:
    """Says when the trainer is to be killed: at a random moment, after the process beside it was."""

    def __init__(self, folder: Path, place: Path, chance: random.Random) -> None:
        self.folder, self.place, self.chance = folder, place, chance
        self.before = count(place)
        self.killed = 0
        self.due: float | None = None

    def __call__(self) -> bool:
        if self.due is None and count(self.place) > self.before:
            self.due = time.monotonic() + self.chance.uniform(0, 1)
        if self.due is None or time.monotonic() < self.due:
            return False
        if self.killed:
            return True
        for pid in beside(self.folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.killed += 1
        # Once more, when the next one has delivered something, or at any moment before.
        self.due, self.before = None, count(self.place) if self.chance.random() < 0.5 else -1
        return False


@pytest.mark.parametrize(
    ("scheme", "kills"),
    [
        ("sqlite", 1),
        pytest.param("sqlite", 10, marks=pytest.mark.big),
        pytest.param("file", 10, marks=pytest.mark.big),
    ],
)
def test_every_point_is_there_once_when_the_trainer_and_the_process_beside_it_are_killed(
    worker: Worker, run_dir: Path, tmp_path: Path, scheme: str, kills: int
) -> None:
    place = tmp_path / "store"
    uri = f"sqlite:///{place}" if scheme == "sqlite" else f"file://{place}"
    chance = random.Random(f"{scheme} {kills}")
    ends = tmp_path / "ends"
    program = TRAINER.format(ends=str(ends), run=str(run_dir), uri=uri)
    for _ in range(kills):
        status, words = worker.tormented(program, Torment(worker.folder, place, chance))
        assert status == -signal.SIGKILL, words
    ends.touch()
    assert worker.program(program) == ""
    rows = codex_obs.read(run_dir).height
    assert rows > 2 * kills
    assert count(place) == rows
    for cursor in (run_dir / ".codex_obs").glob("export-*"):
        cursor.unlink()
    for _ in range(2):
        worker.sync(run_dir, "--uri", uri)
    (found,) = worker.runs(uri)
    assert differences(points_of(found), expected_points(run_dir)) == NONE
    assert (found["status"], found["params"]) == ("FINISHED", {"lr": "0.5"})
    assert lines_of(run_dir, "export_rejected*") == []
