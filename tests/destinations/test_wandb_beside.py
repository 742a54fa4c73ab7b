"""W&B online by the process beside a live trainer: every record is at the server once, whichever of both is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import codex_obs
from faults.tally import wait_until
from peer_readers import DEADLINE_S, PEERS, StandIn, needs_wandb, wandb_environment

# Time for the client of W&B to start, to send and to end, many times over on a machine that is busy.
PATIENCE_S = 5 * DEADLINE_S
TRAINER = """
import pathlib, sys, time
sys.path += sys.argv[2].split(":")
import codex_obs

ends = pathlib.Path(sys.argv[3])
with codex_obs.init(sys.argv[1], run_id="r1", wandb="online", resume="allow", export_interval_s=0.05) as run:
    print("ready", flush=True)
    while not ends.exists():
        run.log({"loss": 0.5, "lr": 1e-5})
        time.sleep(0.01)
assert "wandb" not in sys.modules
"""


def begin(run_dir: Path, home: Path, port: int) -> subprocess.Popen[str]:
    (packages,) = PEERS.parent.glob("lib/python3*/site-packages")
    command = [sys.executable, "-c", TRAINER, str(run_dir), str(packages), str(home / "ends")]
    environment = wandb_environment(home, port)
    trainer = subprocess.Popen(
        command, env=environment, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert trainer.stdout is not None
    assert trainer.stdout.readline() == "ready\n"
    return trainer


def of_wandb(home: Path) -> list[int]:
    """The processes that W&B's client has started in a folder."""
    return _in(home, b"wandb-core")


def beside(home: Path) -> list[int]:
    """The processes beside the trainers that were started in a folder."""
    return _in(home, b"-m\0codex_obs.sidecar")


def _in(home: Path, words: bytes) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if words in (process / "cmdline").read_bytes() and (process / "cwd").readlink() == home:
                found.append(int(process.name))
    return found


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=DEADLINE_S)


@needs_wandb
@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.big)])
def test_every_record_is_there_once_when_the_trainer_or_the_process_beside_it_is_killed(
    run_dir: Path, tmp_path: Path, kills: int
) -> None:
    chance = random.Random(kills)
    with StandIn(tmp_path) as server:

        def lines() -> int:
            return server.control("lines").get("r1", 0)

        trainer = begin(run_dir, tmp_path, server.port)
        for number in range(kills):
            before = lines()
            # One that dies three times is given up: every other time it is the trainer's turn.
            if number % 2:
                wait_until(lambda before=before: lines() > before, PATIENCE_S, "a new line")  # type: ignore[misc]
                time.sleep(chance.uniform(0, 1))
                kill(trainer)
                trainer = begin(run_dir, tmp_path, server.port)
            else:
                # At any moment: also while W&B's client is being imported.
                time.sleep(chance.uniform(0, 4))
                for pid in beside(tmp_path):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            assert trainer.poll() is None
        (tmp_path / "ends").touch()
        _, words = trainer.communicate(timeout=PATIENCE_S)
        assert trainer.returncode == 0, words
        wait_until(lambda: not beside(tmp_path), PATIENCE_S, "the end of the process beside it")
        wait_until(lambda: not of_wandb(tmp_path), PATIENCE_S, "the end of W&B's client")
    rows = codex_obs.read(run_dir)
    steps = rows.filter(rows["metric"] == "loss")["step"].to_list()
    assert steps == list(range(len(steps)))
    found = server.lines("r1")
    assert [line["_step"] for line in found] == steps
    assert [(line["codex/step"], line["train/loss"], line["train/lr"]) for line in found] == [
        (step, 0.5, 1e-5) for step in steps
    ]
    assert server.arrived()["runs"]["r1"]["exitcode"] == 0
