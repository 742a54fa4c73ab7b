"""What the examples of reinforcement learning share: their options, their run, and the events that they log."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import codex_obs
from codex_obs.rl import should_evaluate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Training:
    """The hyperparameters that every example has."""

    seed: int = 1
    num_updates: int = 150
    num_envs: int = 8
    rollout_length: int = 128
    eval_interval: int = 10
    num_eval_episodes: int = 10
    # Training ends when an evaluation reaches it.
    target_return: float = 475.0


class Trainer(Protocol):
    """What an example is made of."""

    def roll_out(self) -> list[float]:
        """Act, and return the returns of the episodes that ended."""

    def update(self, number: int) -> dict[str, float]:
        """Learn, and return what the trainer has to say of it."""

    def evaluate(self, seed: int) -> list[float]:
        """Return the returns of several episodes."""


_Config = TypeVar("_Config", bound=Training)


def main(
    description: str,
    defaults: _Config,
    make: Callable[[_Config], Trainer],
    arguments: Sequence[str] | None = None,
) -> float:
    """Train as the command line says, and return the mean return of the last evaluation."""
    config, options = _parse(description, defaults, arguments)
    with codex_obs.init(
        options.run_dir,
        config=asdict(config),
        mlflow_tracking_uri=options.mlflow_tracking_uri,
        mlflow_run_id=options.mlflow_run_id,
    ) as run:
        mean_return = train(config, make(config), run)
    sys.stdout.write(f"{run.path}: mean return {mean_return:.1f}\n")
    return mean_return


def train(config: Training, trainer: Trainer, run: codex_obs.Run) -> float:
    """Train until an evaluation reaches the target, and return the mean return of the last one."""
    mean_return = 0.0
    steps = config.rollout_length * config.num_envs
    for update in range(1, config.num_updates + 1):
        at = {"timesteps": update * steps, "policy_version": update}
        # What is logged inside is an event of the span too: a trace for each update, beside the metrics.
        with run.span("update", update=update):
            began = time.perf_counter()
            returns = trainer.roll_out()
            acted = time.perf_counter()
            facts = trainer.update(update)
            done = time.perf_counter()
            run.event("TRAINER", **at, **facts)
            # An update may see no episode end: then there is no return either.
            ended = {"mean_return": sum(returns) / len(returns)} if returns else {}
            run.event("ACTOR", **at, episodes=len(returns), **ended)
            speed = {"steps_per_second": steps / (done - began)}
            run.event("MISC", **at, **speed, rollout_ms=(acted - began) * 1e3, update_ms=(done - acted) * 1e3)
        if should_evaluate(update, config.eval_interval, config.num_eval_episodes):
            with run.span("evaluation", update=update):
                began = time.perf_counter()
                returns = trainer.evaluate(seed=config.seed + update)
                duration_ms = (time.perf_counter() - began) * 1e3
                mean_return = _report(run, returns, at, duration_ms)
            sys.stderr.write(f"update {update}: mean return {mean_return:.1f}\n")
            if mean_return >= config.target_return:
                break
    return mean_return


def _report(run: codex_obs.Run, returns: Sequence[float], at: dict[str, int], duration_ms: float) -> float:
    # An episode of CartPole is as long as its return: each step is worth 1.
    mean, largest, smallest = sum(returns) / len(returns), max(returns), min(returns)
    run.event(
        "EVALUATOR",
        **at,
        phase="eval",
        episodes=len(returns),
        mean_return=mean,
        max_return=largest,
        min_return=smallest,
        episode_length_mean=mean,
        episode_length_max=largest,
        episode_length_min=smallest,
        duration_ms=duration_ms,
    )
    return mean


def _parse(description: str, defaults: _Config, arguments: Sequence[str] | None) -> tuple[_Config, argparse.Namespace]:
    """Read the command line, and the configuration file that it names."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", type=Path, metavar="FILE.yaml", help="hyperparameters other than the defaults")
    parser.add_argument("--run-dir", help="run directory (default: a new one under runs/)")
    parser.add_argument("--mlflow-tracking-uri", help="MLflow server to send the metrics to")
    parser.add_argument("--mlflow-run-id", help="MLflow run to send them to, instead of a new one")
    options = parser.parse_args(arguments)
    if options.config is None:
        return defaults, options
    import yaml  # noqa: PLC0415 - only a configuration file needs it

    given: dict[str, Any] = yaml.safe_load(options.config.read_text("utf-8")) or {}
    known = {field.name: type(getattr(defaults, field.name)) for field in fields(defaults)}
    unknown = sorted(set(given) - set(known))
    if unknown:
        parser.error(f"{options.config}: unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    # YAML reads 3e-4 as text.
    values = {name: known[name](value) for name, value in given.items()}
    return replace(defaults, **values), options
