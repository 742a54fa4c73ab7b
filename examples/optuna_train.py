"""Optuna: a run for the study, with a row of each trial, and a run of its own for each trial."""

import optuna

import codex_obs
from codex_obs.integrations.optuna import CodexObsCallback, trial_run


def objective(trial: optuna.Trial) -> float:
    """Train, and give up where others were better."""
    rate = trial.suggest_float("rate", 0.01, 1.0, log=True)
    with trial_run(trial, "runs/study"):
        loss = 1.0
        for step in range(20):
            loss *= 1 - rate / 2
            codex_obs.log({"loss": loss}, step)
            trial.report(loss, step)
            if trial.should_prune():
                raise optuna.TrialPruned(f"loss {loss:.3f} at step {step}")
    return loss


with CodexObsCallback(run_dir="runs/study/summary") as callback:
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=2))
    study.optimize(objective, n_trials=8, n_jobs=2, callbacks=[callback])

print(codex_obs.summarize("runs/study/summary").select("split", "metric", "count", "min_value"))
