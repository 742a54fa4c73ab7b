"""Ray Tune: a run for each trial, written by the driver."""

from ray import tune

from codex_obs.integrations.ray import CodexObsLoggerCallback


def train(config: dict[str, float]) -> None:
    """Report a loss three times."""
    for step in range(3):
        tune.report({"loss": config["rate"] / (step + 1)})


if __name__ == "__main__":
    run_config = tune.RunConfig(name="study", callbacks=[CodexObsLoggerCallback("runs/ray")], verbose=0)
    tune.Tuner(train, param_space={"rate": tune.grid_search([0.1, 0.2])}, run_config=run_config).fit()
