"""Optuna: each trial of a study is logged as Optuna has it, in one run or in one of its own, also from threads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from run_files import config_of, status_of

if TYPE_CHECKING:
    from pathlib import Path

optuna = pytest.importorskip("optuna", reason="needs Optuna: make frameworks")

from codex_obs.integrations.optuna import CodexObsCallback, trial_run

optuna.logging.set_verbosity(optuna.logging.WARNING)


def objective(trial: Any) -> float:
    x = trial.suggest_float("x", -1, 1)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    for step in range(3):
        trial.report(x * x + step, step)
        if trial.number % 4 == 3 and step == 1:
            raise optuna.TrialPruned("no better than others")
    if trial.number % 5 == 4:
        raise ValueError(kind)
    return float(x * x)


def optimize(study: Any, function: Any, **options: Any) -> None:
    study.optimize(function, catch=(ValueError,), **options)


@pytest.mark.parametrize("n_jobs", [1, 4])
def test_rows_are_what_the_study_says(run_dir: Path, n_jobs: int) -> None:
    study = optuna.create_study(study_name="s", sampler=optuna.samplers.RandomSampler(seed=1))
    with CodexObsCallback(run_dir=run_dir) as callback:
        optimize(study, objective, n_trials=12, n_jobs=n_jobs, callbacks=[callback])
    rows = codex_obs.read(run_dir)
    logged = {row["step"]: row for row in rows.filter(split="trials", metric="value").iter_rows(named=True)}
    assert sorted(logged) == list(range(12))
    for trial in study.trials:
        row = logged[trial.number]
        assert row["value"] == trial.value
        assert json.loads(row["tags"]) == {"trial": trial.number, "state": trial.state.name, "params": trial.params}
        reported = rows.filter(split="intermediate").filter(
            tags=f'{{"state":"{trial.state.name}","trial":{trial.number}}}'
        )
        assert dict(zip(reported["step"], reported["value"], strict=True)) == trial.intermediate_values
    assert {trial.state.name for trial in study.trials} == {"COMPLETE", "PRUNED", "FAIL"}
    assert config_of(run_dir) == {"study": "s", "directions": ["minimize"]}
    assert status_of(run_dir) == "finished"


def test_several_objectives_are_rows_by_their_names(run_dir: Path) -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    with CodexObsCallback(run_dir=run_dir) as callback:
        study.optimize(lambda trial: (trial.suggest_int("n", 0, 9), 0.5), n_trials=2, callbacks=[callback])
        study.set_metric_names(["loss", "speed"])
        study.optimize(lambda trial: (trial.suggest_int("n", 0, 9), 0.5), n_trials=1, callbacks=[callback])
    metrics = codex_obs.read(run_dir).filter(split="trials")["metric"].to_list()
    assert [name for name in metrics if name.startswith("values/")] == ["values/0", "values/1"] * 2
    assert metrics[-4:-2] == ["loss", "speed"]


@pytest.mark.parametrize("n_jobs", [1, 4])
def test_each_trial_has_a_run_of_its_own_and_module_level_rows_go_there(tmp_path: Path, n_jobs: int) -> None:
    def with_run(trial: Any) -> float:
        with trial_run(trial, tmp_path / "study"):
            for _ in range(20):
                codex_obs.log({"number": trial.number})
            return objective(trial)

    with codex_obs.init(tmp_path / "mine") as mine:
        study = optuna.create_study(study_name="s", sampler=optuna.samplers.RandomSampler(seed=1))
        optimize(study, with_run, n_trials=12, n_jobs=n_jobs)
        assert codex_obs.current_run() is mine
    assert codex_obs.read(tmp_path / "mine").height == 0
    for trial in study.trials:
        folder = tmp_path / f"study/trial-{trial.number:04}"
        rows = codex_obs.read(folder)
        assert rows.filter(metric="number")["value"].to_list() == [float(trial.number)] * 20
        assert config_of(folder) == trial.params
        assert status_of(folder) == ("failed" if trial.state.name == "FAIL" else "finished")
        pruned = rows.filter(split="misc")["tags"].to_list()
        is_pruned = trial.state.name == "PRUNED"
        assert pruned == ['{"message":"no better than others","pruned":true}'] * is_pruned
