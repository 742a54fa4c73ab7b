"""Lightning's own launcher, which starts the other ranks as children of rank 0: one run per training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

import codex_obs

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("lightning.pytorch", reason="needs Lightning and PyTorch")

RANKS = 3
LIMIT_S = 300
# What a user writes: a bare `init` in every rank, and the trainer's logger on rank 0.
PROGRAM = """
import sys
import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

import codex_obs
from codex_obs.integrations.lightning import CodexObsLogger

BEFORE = sys.argv[1] == "before"
if BEFORE:
    codex_obs.init()


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def on_fit_start(self):
        if not BEFORE:
            codex_obs.init()

    def training_step(self, batch, number):
        codex_obs.log({"mine": float(number)}, step=number)
        loss = self.layer(batch[0]).mean()
        self.log("train_loss", loss, on_step=True, on_epoch=False)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


if __name__ == "__main__":
    data = DataLoader(TensorDataset(torch.zeros(48, 1)), batch_size=4)
    trainer = pl.Trainer(
        logger=CodexObsLogger() if BEFORE else False, accelerator="cpu", devices=int(sys.argv[2]), strategy="ddp",
        max_epochs=1, log_every_n_steps=1, enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(Model(), data)
    codex_obs.finish()
"""


def train(folder: Path, where: str) -> subprocess.Popen[str]:
    program = folder / "train.py"
    program.write_text(PROGRAM)
    return subprocess.Popen(
        [sys.executable, str(program), where, str(RANKS)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(*trainings: subprocess.Popen[str]) -> None:
    try:
        for training in trainings:
            said, _ = training.communicate(timeout=LIMIT_S)
            assert training.returncode == 0, said
    finally:
        for training in trainings:
            with suppress(ProcessLookupError):
                os.killpg(training.pid, signal.SIGKILL)


def require_runs(folder: Path, count: int) -> None:
    runs = list((folder / "runs").iterdir())
    assert len(runs) == count
    steps = 48 // 4 // RANKS
    for run in runs:
        rows = codex_obs.read(run)
        mine = rows.filter(rows["metric"].cast(str) == "mine")
        found = sorted((str(row["stream"]), row["step"]) for row in mine.iter_rows(named=True))
        streams = ["main", *(f"rank-{rank}" for rank in range(1, RANKS))]
        assert found == [(stream, step) for stream in streams for step in range(steps)]


@pytest.mark.parametrize("where", ["before", "inside"])
def test_each_training_is_one_run(tmp_path: Path, where: str) -> None:
    end(train(tmp_path, where))
    end(train(tmp_path, where))
    require_runs(tmp_path, 2)


@pytest.mark.parametrize("where", ["before", "inside"])
def test_trainings_at_once_are_a_run_each(tmp_path: Path, where: str) -> None:
    end(train(tmp_path, where), train(tmp_path, where))
    require_runs(tmp_path, 2)
