"""transformers: rows equal the trainer's history of logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from run_files import config_of, status_of

if TYPE_CHECKING:
    from pathlib import Path

transformers = pytest.importorskip("transformers", reason="needs transformers and PyTorch")
torch = pytest.importorskip("torch", reason="needs PyTorch")
pytest.importorskip("accelerate", reason="needs accelerate")

from codex_obs.integrations.transformers import CodexObsCallback, register


class Model(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, x: Any, labels: Any = None) -> dict[str, Any]:
        found = self.layer(x)
        return {"loss": ((found - labels) ** 2).mean(), "logits": found}


DATA = [{"x": torch.tensor([number / 16]), "labels": torch.tensor([number / 8])} for number in range(16)]


def trainer(folder: Path, *callbacks: Any, **options: Any) -> Any:
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=2,
        logging_steps=2,
        eval_strategy="epoch",
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        per_device_train_batch_size=4,
        **options,
    )
    built = transformers.Trainer(
        model=Model(), args=arguments, train_dataset=DATA, eval_dataset=DATA, callbacks=list(callbacks)
    )
    built.remove_callback(transformers.PrinterCallback)
    return built


def logged_by(history: list[dict[str, float]]) -> set[tuple[int, str, float]]:
    return {(int(line["step"]), name, value) for line in history for name, value in line.items() if name != "step"}


def rows_of(run_dir: Path) -> set[tuple[int, str, float]]:
    rows = codex_obs.read(run_dir).iter_rows(named=True)
    return {
        (row["step"], f"eval_{row['metric']}" if row["split"] == "eval" else row["metric"], row["value"])
        for row in rows
    }


def test_rows_equal_the_history_and_evaluate_after_it_is_there_too(run_dir: Path, tmp_path: Path) -> None:
    callback = CodexObsCallback(run_dir=run_dir)
    built = trainer(tmp_path, callback)
    built.train()
    assert status_of(run_dir) is None
    built.evaluate()
    callback.close()
    # What `evaluate` gives has the epoch in the same split as the rest.
    assert rows_of(run_dir) == logged_by(built.state.log_history)
    assert config_of(run_dir)["args"]["logging_steps"] == 2
    assert status_of(run_dir) == "finished"


def test_report_to_knows_it_once_it_is_registered_and_the_run_has_the_name(working_directory: Path) -> None:
    register()
    built = trainer(working_directory / "out", report_to="codex_obs", run_name="mine")
    built.train()
    assert codex_obs.finish()
    assert rows_of(working_directory / "runs/mine") == logged_by(built.state.log_history)


def test_predict_is_logged_where_the_trainer_logs_nothing(run_dir: Path, tmp_path: Path) -> None:
    with codex_obs.init(run_dir):
        built = trainer(tmp_path, CodexObsCallback())
        built.train()
        metrics = built.predict(DATA).metrics
    found = codex_obs.read(run_dir).filter(split="test", metric="loss")["value"].to_list()
    assert found == [metrics["test_loss"]]
