"""Proximal policy optimisation on CartPole, in NumPy: `python examples/ppo.py` reaches 475 in well under a minute.

Each update logs an event TRAINER (losses), ACTOR (episodes) and MISC (speed); evaluations with the deterministic policy
log EVALUATOR. `codex-obs check RUN --schema rl` says whether all of them are there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

# Of matrices as small as these, threads take many times the time. NumPy reads it when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from network import Floats, Network, sample, softmax
from training import Training, main

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Config(Training):
    """Hyperparameters."""

    environment: str = "CartPole-v1"
    num_epochs: int = 6
    num_minibatches: int = 4
    learning_rate: float = 2e-3
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy_weight: float = 0.01
    max_grad_norm: float = 0.5
    hidden_width: int = 64


@dataclass(frozen=True)
class Rollout:
    """What the environments gave during one update, a step of an environment in each row."""

    observations: Floats
    actions: NDArray[np.int64]
    log_probabilities: Floats
    advantages: Floats
    targets: Floats

    def rows(self, chosen: NDArray[np.int64]) -> Rollout:
        """Return some of the rows."""
        return Rollout(*(getattr(self, field.name)[chosen] for field in fields(self)))


class Trainer:
    """The networks, the environments, and an update of the former by the latter."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.generator = np.random.default_rng(config.seed)
        self.environments = self._environments(config.num_envs)
        inputs = int(np.prod(self.environments.single_observation_space.shape or ()))
        self.num_actions = int(self.environments.single_action_space.n)
        hidden = [config.hidden_width, config.hidden_width]
        self.policy = Network([inputs, *hidden, self.num_actions], self.generator, output_scale=0.01)
        self.value = Network([inputs, *hidden, 1], self.generator)
        self.observation = self.environments.reset(seed=config.seed)[0].astype(np.float64)
        self.running_returns = np.zeros(config.num_envs)

    def _environments(self, number: int) -> gymnasium.vector.VectorEnv:
        return gymnasium.make_vec(
            self.config.environment,
            num_envs=number,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        )

    def roll_out(self) -> list[float]:
        """Let the policy act, and return the returns of episodes that ended."""
        config = self.config
        shape = (config.rollout_length, config.num_envs)
        observations = np.zeros((*shape, self.observation.shape[1]))
        actions = np.zeros(shape, dtype=np.int64)
        log_probabilities, rewards, values, next_values, ends = (np.zeros(shape) for _ in range(5))
        returns: list[float] = []
        for step in range(config.rollout_length):
            probabilities = softmax(self.policy(self.observation))
            action = sample(probabilities, self.generator)
            observations[step], actions[step] = self.observation, action
            log_probabilities[step] = np.log(probabilities[np.arange(config.num_envs), action])
            values[step] = self.value(self.observation)[:, 0]
            observation, reward, terminated, truncated, info = self.environments.step(action)
            following = observation.astype(np.float64)
            self.observation = following.copy()
            ends[step] = terminated | truncated
            for number in np.flatnonzero(ends[step]):
                following[number] = info["final_obs"][number]
            # An episode that was cut short would have gone on; one that failed is worth nothing any more.
            next_values[step] = self.value(following)[:, 0] * ~terminated
            rewards[step] = reward
            self.running_returns += reward
            returns += [float(total) for total in self.running_returns[ends[step] > 0]]
            self.running_returns[ends[step] > 0] = 0
        advantages = np.zeros(shape)
        advantage = np.zeros(config.num_envs)
        for step in reversed(range(config.rollout_length)):
            surprise = rewards[step] + config.gamma * next_values[step] - values[step]
            advantage = surprise + config.gamma * config.gae_lambda * (1 - ends[step]) * advantage
            advantages[step] = advantage
        self.rollout = Rollout(
            observations=observations.reshape(-1, observations.shape[-1]),
            actions=actions.reshape(-1),
            log_probabilities=log_probabilities.reshape(-1),
            advantages=advantages.reshape(-1),
            targets=(advantages + values).reshape(-1),
        )
        return returns

    def update(self, number: int) -> dict[str, float]:
        """Improve both networks, and return the means of what was minimised."""
        learning_rate = self.config.learning_rate * (1 - (number - 1) / self.config.num_updates)
        totals: dict[str, list[float]] = {}
        for _ in range(self.config.num_epochs):
            order = self.generator.permutation(len(self.rollout.actions))
            for chosen in np.array_split(order, self.config.num_minibatches):
                losses = self._step(self.rollout.rows(chosen), learning_rate)
                for name, loss in losses.items():
                    totals.setdefault(name, []).append(loss)
        means = {name: float(np.mean(losses)) for name, losses in totals.items()}
        return {"learning_rate": learning_rate, **means}

    def _step(self, batch: Rollout, learning_rate: float) -> dict[str, float]:
        config, rows = self.config, np.arange(len(batch.actions))
        advantages = (batch.advantages - batch.advantages.mean()) / (batch.advantages.std() + 1e-8)
        probabilities = softmax(self.policy(batch.observations))
        log_probabilities = np.log(np.maximum(probabilities, 1e-12))
        ratios = np.exp(log_probabilities[rows, batch.actions] - batch.log_probabilities)
        clipped = np.clip(ratios, 1 - config.clip, 1 + config.clip)
        policy_loss = -np.minimum(ratios * advantages, clipped * advantages).mean()
        entropies = -(probabilities * log_probabilities).sum(axis=1, keepdims=True)
        # The gradient is zero where clipping made the smaller of the two.
        active = (ratios * advantages <= clipped * advantages).astype(np.float64)
        chosen = np.zeros_like(probabilities)
        chosen[rows, batch.actions] = 1
        gradient = -(active * advantages * ratios)[:, None] * (chosen - probabilities)
        gradient += config.entropy_weight * probabilities * (log_probabilities + entropies)
        rate, limit = learning_rate, config.max_grad_norm
        policy_norm = self.policy.train(gradient / len(rows), learning_rate=rate, max_norm=limit)
        errors = self.value(batch.observations)[:, 0] - batch.targets
        value_norm = self.value.train(errors[:, None] / len(rows), learning_rate=rate, max_norm=limit)
        return {
            "policy_loss": float(policy_loss),
            "value_loss": float(0.5 * (errors**2).mean()),
            "entropy": float(entropies.mean()),
            "approx_kl": float((ratios - 1 - np.log(ratios)).mean()),
            "clip_fraction": float((np.abs(ratios - 1) > config.clip).mean()),
            "global_grad_norm": float(np.hypot(policy_norm, value_norm)),
        }

    def evaluate(self, seed: int) -> list[float]:
        """Return the returns of one episode in each of several environments, with the likeliest action each time."""
        environments = self._environments(self.config.num_eval_episodes)
        observation = environments.reset(seed=seed)[0]
        returns = np.zeros(self.config.num_eval_episodes)
        running = np.ones(self.config.num_eval_episodes, dtype=bool)
        while running.any():
            action = self.policy(observation.astype(np.float64)).argmax(axis=1)
            observation, reward, terminated, truncated, _ = environments.step(action)
            returns += reward * running
            running &= ~(terminated | truncated)
        environments.close()
        return [float(total) for total in returns]


if __name__ == "__main__":
    main("Proximal policy optimisation on CartPole.", Config(), Trainer)
