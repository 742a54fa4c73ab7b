"""Lightning: rows equal its CSVLogger's, beside it in the same training."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

import codex_obs
from run_files import config_of, status_of

pl = pytest.importorskip("lightning.pytorch", reason="needs Lightning and PyTorch")

import torch
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from codex_obs.integrations.lightning import CodexObsLogger

DATA = TensorDataset(torch.arange(32.0).reshape(32, 1) / 32)


class Model(pl.LightningModule):  # type: ignore[misc, name-defined]
    def __init__(self, lr: float = 0.1, fails_at: int | None = None) -> None:  # noqa: ARG002 - it saves them
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(1, 1)

    def loss(self, batch: Any) -> Any:
        return ((self.layer(batch[0]) - 2 * batch[0]) ** 2).mean()

    def training_step(self, batch: Any, number: int) -> Any:
        if self.hparams.fails_at == number:
            raise LookupError("no more data")
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch: Any, _: int) -> None:  # noqa: PT019 - not pytest's
        self.log("test_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


def trainer(folder: Path, *loggers: Any, **options: Any) -> Any:
    options = {"max_epochs": 2, "log_every_n_steps": 2, "enable_progress_bar": False, **options}
    return pl.Trainer(logger=list(loggers), accelerator="cpu", default_root_dir=folder, **options)


def loader() -> Any:
    return DataLoader(DATA, batch_size=4)


def test_rows_equal_the_csv_file(run_dir: Path, tmp_path: Path) -> None:
    ours, beside = CodexObsLogger(run_dir=run_dir), CSVLogger(tmp_path)
    built = trainer(tmp_path, ours, beside, enable_checkpointing=True)
    built.fit(Model(), loader(), loader())
    assert status_of(run_dir) is None
    built.test(built.model, loader(), verbose=False)
    ours.close()
    rows = codex_obs.read(run_dir)
    expected = []
    with Path(beside.log_dir, "metrics.csv").open() as file:
        for line in csv.DictReader(file):
            expected += [
                (int(line["step"]), name, float(text)) for name, text in line.items() if text and name != "step"
            ]
    names = {"loss_step": "train_loss_step", "loss_epoch": "train_loss_epoch"}
    logged = [
        (
            row["step"],
            row["metric"] if row["metric"] == "epoch" else names.get(row["metric"], f"{row['split']}_{row['metric']}"),
            row["value"],
        )
        for row in rows.iter_rows(named=True)
    ]
    # The file has one line a step, where Lightning logs several times.
    assert {row for row in logged if row[1] != "epoch"} == {row for row in expected if row[1] != "epoch"}
    assert {row[:2] for row in logged} == {row[:2] for row in expected}
    assert set(rows["split"]) == {"train", "val", "test"}
    assert config_of(run_dir) == {"lr": 0.1, "fails_at": None}
    assert status_of(run_dir) == "finished"
    assert list((run_dir / "checkpoints").iterdir())


def test_the_user_s_run_stays_open_and_current(run_dir: Path, tmp_path: Path) -> None:
    with codex_obs.init(run_dir) as run:
        trainer(tmp_path, CodexObsLogger(), enable_checkpointing=False).fit(Model(), loader())
        codex_obs.log({"mine": 1})
        assert codex_obs.current_run() is run
    assert {"mine", "loss_step"} <= set(codex_obs.read(run_dir)["metric"])


def test_a_fit_that_raises_is_a_failed_run(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        trainer(tmp_path, CodexObsLogger(run_dir=run_dir)).fit(Model(fails_at=3), loader())
    assert status_of(run_dir) == "failed"


def test_fabric_takes_it_too(run_dir: Path) -> None:
    from lightning.fabric import Fabric

    logger = CodexObsLogger(run_dir=run_dir)
    fabric = Fabric(accelerator="cpu", devices=1, loggers=logger)
    fabric.log_dict({"val_loss": torch.tensor(0.5)}, step=3)
    logger.close()
    assert codex_obs.read(run_dir).select("step", "split", "metric", "value").rows() == [(3, "val", "loss", 0.5)]
