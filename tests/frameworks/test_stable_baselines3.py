"""Stable-Baselines3: rows equal its CSV output, beside it in the same training."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest

import codex_obs
from run_files import config_of, status_of

if TYPE_CHECKING:
    from pathlib import Path

sb3 = pytest.importorskip("stable_baselines3", reason="needs Stable-Baselines3 and PyTorch")

from stable_baselines3.common.logger import CSVOutputFormat, HParam, Image, Logger

from codex_obs.integrations.stable_baselines3 import CodexObsOutputFormat


def test_rows_equal_the_csv_file(run_dir: Path, tmp_path: Path) -> None:
    logger = Logger(None, [CodexObsOutputFormat(run_dir=run_dir), CSVOutputFormat(str(tmp_path / "log.csv"))])
    model = sb3.PPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=32, n_epochs=1, device="cpu")
    model.set_logger(logger)
    model.learn(192)
    logger.close()
    expected = []
    with (tmp_path / "log.csv").open() as file:
        for line in csv.DictReader(file):
            step = int(line["time/total_timesteps"])
            expected += [(step, *name.split("/"), pytest.approx(float(text))) for name, text in line.items() if text]
    rows = codex_obs.read(run_dir).select("step", "split", "metric", "value").rows()
    assert sorted(rows) == sorted(expected, key=lambda row: row[:3])
    assert status_of(run_dir) == "finished"


def test_what_is_excluded_or_no_number_is_left_out(run_dir: Path) -> None:
    logger = Logger(None, [CodexObsOutputFormat(run_dir=run_dir)])
    logger.record("train/loss", 0.5)
    logger.record("train/secret", 1, exclude="codex_obs")
    logger.record("train/other", 2, exclude=("csv", "stdout"))
    logger.record("train/image", Image(None, "HWC"))
    logger.record("hparams", HParam({"lr": 0.1}, {"train/loss": 0}))
    logger.dump(7)
    logger.close()
    assert codex_obs.read(run_dir).select("step", "split", "metric", "value").rows() == [
        (7, "train", "loss", 0.5),
        (7, "train", "other", 2.0),
    ]
    assert config_of(run_dir) == {"lr": 0.1}
