"""Search-based policy optimisation on CartPole, in NumPy: `python examples/spo.py`.

A particle search (sequential Monte Carlo over copies of the environment) gives each state a better distribution over
actions than the policy has. The policy follows it by the update of maximum a posteriori policy optimisation (MPO), with
a temperature and a trust region whose weights are learned, from a replay buffer. Evaluations act by the search too.

The events are those of `ppo.py`; TRAINER also has the losses of MPO and the length of the buffer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

# Of matrices as small as these, threads take many times the time. NumPy reads it when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv

from network import Floats, Network, sample, softmax
from training import Training, main

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Config(Training):
    """Hyperparameters."""

    rollout_length: int = 32
    num_particles: int = 16
    search_depth: int = 8
    resample_interval: int = 4
    replay_capacity: int = 4096
    batch_size: int = 256
    num_gradient_steps: int = 32
    learning_rate: float = 1e-3
    dual_learning_rate: float = 2e-2
    gamma: float = 0.99
    value_lambda: float = 0.95
    # Bounds of the KL divergence between search and policy, and between a policy and the next.
    temperature_bound: float = 0.5
    policy_bound: float = 0.02
    first_temperature: float = 1.0
    first_alpha: float = 1.0
    max_grad_norm: float = 1.0
    hidden_width: int = 64


class CartPoles(CartPoleVectorEnv):  # type: ignore[misc]  # gymnasium's class has no types for a subclass
    """CartPoles whose states can be read, copied and chosen; an episode that ended is begun anew by `renew`."""

    state: Floats
    steps: NDArray[np.int64]

    def observations(self) -> Floats:
        """Return the states, one a row."""
        return np.asarray(self.state.T, dtype=np.float64)

    def copies(self, number: int) -> CartPoles:
        """Return environments in which each of these is there so many times."""
        other = CartPoles(self.num_envs * number, max_episode_steps=self.max_episode_steps)
        other.state = np.repeat(self.state, number, axis=1)
        other.steps = np.repeat(self.steps, number)
        return other

    def choose(self, numbers: NDArray[np.int64]) -> None:
        """Put the states of these numbers in the place of all."""
        self.state, self.steps = self.state[:, numbers], self.steps[numbers]

    def renew(self, ended: NDArray[np.bool_]) -> None:
        """Begin the episodes that have ended anew."""
        self.state[:, ended] = self.np_random.uniform(-0.05, 0.05, size=(4, int(ended.sum())))
        self.steps[ended] = 0

    def act(self, actions: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        """Return rewards, and which episodes failed and which were cut short."""
        self.prev_done[:] = False
        _, rewards, terminated, truncated, _ = self.step(actions)
        return rewards.astype(np.float64), terminated, truncated & ~terminated


class Buffer:
    """The last states with what the search said of them."""

    def __init__(self, capacity: int, num_actions: int) -> None:
        self.observations = np.zeros((capacity, 4))
        self.targets = np.zeros((capacity, num_actions))
        self.advantages = np.zeros((capacity, num_actions))
        self.values = np.zeros(capacity)
        self._added = 0

    def __len__(self) -> int:
        return min(self._added, len(self.values))

    def add(self, observations: Floats, targets: Floats, advantages: Floats, values: Floats) -> None:
        """Add rows; the oldest go."""
        places = np.arange(self._added, self._added + len(values)) % len(self.values)
        self._added += len(values)
        self.observations[places], self.targets[places] = observations, targets
        self.advantages[places], self.values[places] = advantages, values


class Trainer:
    """The networks, the environments, the search and the update."""

    num_actions = 2

    def __init__(self, config: Config) -> None:
        self.config = config
        self.generator = np.random.default_rng(config.seed)
        self.environments = CartPoles(config.num_envs)
        self.environments.reset(seed=config.seed)
        hidden = [config.hidden_width, config.hidden_width]
        self.policy = Network([4, *hidden, self.num_actions], self.generator, output_scale=0.01)
        # The policy of the last update: what the search draws from, and what the next one stays close to.
        self.prior = Network([4, *hidden, self.num_actions], self.generator)
        self.prior.copy_from(self.policy)
        self.value = Network([4, *hidden, 1], self.generator)
        self.buffer = Buffer(config.replay_capacity, self.num_actions)
        self.log_temperature = float(np.log(config.first_temperature))
        self.log_alpha = float(np.log(config.first_alpha))
        self.running_returns = np.zeros(config.num_envs)

    def search(self, environments: CartPoles) -> tuple[Floats, Floats]:
        """Return for each environment the share and the advantage of the particles that began with each action."""
        config, particles = self.config, self.config.num_particles
        copies = environments.copies(particles)
        shape = (environments.num_envs, particles)
        rows = np.arange(copies.num_envs)
        alive = np.ones(copies.num_envs)
        advantages = np.zeros(copies.num_envs)
        weights = np.zeros(copies.num_envs)
        first = np.zeros(copies.num_envs, dtype=np.int64)
        origin = np.repeat(np.arange(environments.num_envs), particles)
        totals = np.zeros((environments.num_envs, self.num_actions))
        counts = np.zeros_like(totals)
        values = self.value(copies.observations())[:, 0]
        discount = 1.0
        for depth in range(config.search_depth):
            actions = sample(softmax(self.prior(copies.observations())), self.generator)
            if depth == 0:
                # Each action is tried by some particle.
                actions = np.where(rows % particles < self.num_actions, rows % particles, actions)
                first = actions
            rewards, terminated, _ = copies.act(actions)
            next_values = self.value(copies.observations())[:, 0] * ~terminated
            gain = alive * discount * (rewards + config.gamma * next_values - values)
            advantages += gain
            weights += gain / np.exp(self.log_temperature)
            alive *= ~terminated
            values, discount = next_values * alive, discount * config.gamma
            if (depth + 1) % config.resample_interval == 0 and depth + 1 < config.search_depth:
                drawn = self._drawn(softmax(weights.reshape(shape)))
                # What is not drawn any more has still shown what its action is worth.
                np.add.at(totals, (origin, first), advantages)
                np.add.at(counts, (origin, first), 1)
                copies.choose(drawn)
                first, alive, values = first[drawn], alive[drawn], values[drawn]
                advantages, weights = advantages[drawn], np.zeros(copies.num_envs)
        np.add.at(totals, (origin, first), advantages)
        np.add.at(counts, (origin, first), 1)
        shares = np.zeros_like(totals)
        np.add.at(shares, (origin, first), softmax(weights.reshape(shape)).reshape(-1))
        return shares, totals / np.maximum(counts, 1)

    def _drawn(self, weights: Floats) -> NDArray[np.int64]:
        """Draw as many particles as there are for each environment, by systematic resampling."""
        number, particles = weights.shape
        points = (np.arange(particles) + self.generator.random((number, 1))) / particles
        chosen = (points[:, :, None] > weights.cumsum(axis=1)[:, None, :]).sum(axis=2)
        chosen = np.minimum(chosen, particles - 1)
        return np.asarray(chosen + np.arange(number)[:, None] * particles, dtype=np.int64).reshape(-1)

    def roll_out(self) -> list[float]:
        """Act by the search, add what it said to the buffer, and return the returns of episodes that ended."""
        config = self.config
        shape = (config.rollout_length, config.num_envs)
        observations = np.zeros((*shape, 4))
        targets, advantages = (np.zeros((*shape, self.num_actions)) for _ in range(2))
        rewards, values, next_values, ends = (np.zeros(shape) for _ in range(4))
        returns: list[float] = []
        for step in range(config.rollout_length):
            observations[step] = self.environments.observations()
            targets[step], advantages[step] = self.search(self.environments)
            values[step] = self.value(observations[step])[:, 0]
            rewards[step], terminated, truncated = self.environments.act(sample(targets[step], self.generator))
            next_values[step] = self.value(self.environments.observations())[:, 0] * ~terminated
            self.running_returns += rewards[step]
            ended = terminated | truncated
            returns += [float(total) for total in self.running_returns[ended]]
            self.running_returns[ended] = 0
            ends[step] = ended
            self.environments.renew(ended)
        following = np.zeros(config.num_envs)
        worth = np.zeros(shape)
        for step in reversed(range(config.rollout_length)):
            surprise = rewards[step] + config.gamma * next_values[step] - values[step]
            following = surprise + config.gamma * config.value_lambda * (1 - ends[step]) * following
            worth[step] = values[step] + following
        states, shares, gains = (part.reshape(-1, part.shape[-1]) for part in (observations, targets, advantages))
        self.buffer.add(states, shares, gains, worth.reshape(-1))
        return returns

    def update(self, _number: int) -> dict[str, float]:
        """Improve networks and dual variables from the buffer, and return the means of what was minimised."""
        totals: dict[str, list[float]] = {}
        for _ in range(self.config.num_gradient_steps):
            chosen = self.generator.integers(len(self.buffer), size=self.config.batch_size)
            for name, loss in self._step(chosen).items():
                totals.setdefault(name, []).append(loss)
        self.prior.copy_from(self.policy)
        return {name: float(np.mean(losses)) for name, losses in totals.items()} | {"replay_len": len(self.buffer)}

    def _step(self, chosen: NDArray[np.int64]) -> dict[str, float]:
        config, buffer, rows = self.config, self.buffer, len(chosen)
        observations, targets = buffer.observations[chosen], buffer.targets[chosen]
        # The temperature: its dual, whose gradient is what the bound leaves of the divergence.
        temperature, prior = np.exp(self.log_temperature), softmax(self.prior(observations))
        scaled = buffer.advantages[chosen] / temperature
        largest = scaled.max(axis=1)
        normaliser = largest + np.log((prior * np.exp(scaled - largest[:, None])).sum(axis=1))
        improved = prior * np.exp(scaled - normaliser[:, None])
        divergence = ((improved * scaled).sum(axis=1) - normaliser).mean()
        temperature_loss = temperature * (config.temperature_bound + normaliser.mean())
        self.log_temperature -= config.dual_learning_rate * float(config.temperature_bound - divergence)
        # The policy: towards the search, but not far from the last policy.
        probabilities = softmax(self.policy(observations))
        logarithms = np.log(np.maximum(probabilities, 1e-12))
        alpha = np.exp(self.log_alpha)
        change = float((prior * (np.log(np.maximum(prior, 1e-12)) - logarithms)).sum(axis=1).mean())
        policy_loss = -(targets * logarithms).sum(axis=1).mean()
        gradient = (probabilities - targets) + alpha * (probabilities - prior)
        rate, limit = config.learning_rate, config.max_grad_norm
        policy_norm = self.policy.train(gradient / rows, learning_rate=rate, max_norm=limit)
        self.log_alpha -= config.dual_learning_rate * (config.policy_bound - change)
        errors = self.value(observations)[:, 0] - buffer.values[chosen]
        value_norm = self.value.train(errors[:, None] / rows, learning_rate=rate, max_norm=limit)
        losses = {
            "mpo_temperature_loss": float(temperature_loss),
            "mpo_alpha_loss": float(alpha * (config.policy_bound - change)),
            "mpo_policy_loss": float(policy_loss + alpha * change),
            "value_loss": float(0.5 * (errors**2).mean()),
        }
        total = losses["mpo_temperature_loss"] + losses["mpo_alpha_loss"] + losses["mpo_policy_loss"]
        norm = float(np.hypot(policy_norm, value_norm))
        duals = {"temperature": float(temperature), "alpha": float(alpha), "approx_kl": change}
        return {**losses, "mpo_total_loss": total, "global_grad_norm": norm, **duals}

    def evaluate(self, seed: int) -> list[float]:
        """Return the returns of one episode in each of several environments, with the search's favourite each time."""
        environments = CartPoles(self.config.num_eval_episodes)
        environments.reset(seed=seed)
        returns = np.zeros(environments.num_envs)
        running = np.ones(environments.num_envs, dtype=bool)
        while running.any():
            rewards, terminated, truncated = environments.act(self.search(environments)[0].argmax(axis=1))
            returns += rewards * running
            running &= ~(terminated | truncated)
        return [float(total) for total in returns]


if __name__ == "__main__":
    main("Search-based policy optimisation on CartPole.", Config(), Trainer)
