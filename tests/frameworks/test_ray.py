"""Ray Tune: a run of each trial, with the results that Ray has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from run_files import config_of, status_of

if TYPE_CHECKING:
    from pathlib import Path

ray = pytest.importorskip("ray", reason="needs Ray")
tune = pytest.importorskip("ray.tune", reason="needs Ray Tune")

from codex_obs.integrations.ray import CodexObsLoggerCallback


def test_each_trial_is_a_run_with_its_results_and_status(tmp_path: Path) -> None:
    # Inside: a worker cannot import this module.
    def train(config: dict[str, Any]) -> None:
        for step in range(3):
            if config["x"] == 2 and step == 2:
                raise LookupError("no more data")
            tune.report({"loss": config["x"] / (step + 1), "nested": {"a": step}, "word": "fine"})

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        run_config = tune.RunConfig(
            name="study",
            storage_path=str(tmp_path / "ray"),
            verbose=0,
            callbacks=[CodexObsLoggerCallback(tmp_path / "runs")],
        )
        results = tune.Tuner(train, param_space={"x": tune.grid_search([1, 2])}, run_config=run_config).fit()
    finally:
        ray.shutdown()
    runs = {config_of(run)["x"]: run for run in (tmp_path / "runs").iterdir()}
    assert sorted(runs) == [1, 2]
    for result in results:
        x = result.config["x"]
        rows = codex_obs.read(runs[x])
        losses = rows.filter(metric="loss")
        assert losses.select("step", "value").rows() == [
            (step + 1, x / (step + 1)) for step in range(3 if x == 1 else 2)
        ]
        assert rows.filter(metric="nested/a")["value"].to_list() == [float(step) for step in range(losses.height)]
        assert not {"word", "pid", "training_iteration"} & set(rows["metric"])
        assert "time_total_s" in set(rows["metric"])
        assert status_of(runs[x]) == ("failed" if x == 2 else "finished")
