"""accelerate: what `accelerator.log` is given is in the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import codex_obs
from run_files import config_of, status_of

if TYPE_CHECKING:
    from pathlib import Path

accelerate = pytest.importorskip("accelerate", reason="needs accelerate and PyTorch")
torch = pytest.importorskip("torch", reason="needs PyTorch")

from codex_obs.integrations.accelerate import CodexObsTracker, register


def test_it_is_known_by_name_and_ends_with_the_training(run_dir: Path) -> None:
    register()
    register()
    accelerator = accelerate.Accelerator(cpu=True, log_with="codex_obs")
    accelerator.init_trackers("project", {"lr": 0.1}, init_kwargs={"codex_obs": {"run_dir": run_dir}})
    accelerator.log({"loss": torch.tensor(0.5), "val_loss": 0.25}, step=3)
    accelerator.log({"acc": 1}, step=4, log_kwargs={"codex_obs": {"split": "holdout", "tags": {"a": 1}}})
    assert accelerator.get_tracker("codex_obs", unwrap=True).path == run_dir
    accelerator.end_training()
    assert codex_obs.read(run_dir).select("step", "split", "metric", "value", "tags").rows() == [
        (3, "train", "loss", 0.5, "{}"),
        (3, "val", "loss", 0.25, "{}"),
        (4, "holdout", "acc", 1.0, '{"a":1}'),
    ]
    assert (config_of(run_dir), status_of(run_dir)) == ({"lr": 0.1}, "finished")


def test_the_project_names_a_run_of_its_own_and_the_user_s_run_stays_open(working_directory: Path) -> None:
    accelerator = accelerate.Accelerator(cpu=True, log_with=CodexObsTracker("project"))
    accelerator.init_trackers("project")
    accelerator.log({"loss": 1})
    accelerator.end_training()
    assert codex_obs.read(working_directory / "runs/project")["metric"].to_list() == ["loss"]
    with codex_obs.init("runs/mine") as run:
        accelerator = accelerate.Accelerator(cpu=True, log_with=CodexObsTracker("project"))
        accelerator.init_trackers("project")
        accelerator.log({"loss": 1})
        accelerator.end_training()
        assert not run.closed
    assert codex_obs.read("runs/mine")["metric"].to_list() == ["loss"]
