"""Gymnasium: return and length of each episode, at the number of steps so far."""

import gymnasium

import codex_obs
from codex_obs.integrations.gymnasium import CodexObsWrapper

env = CodexObsWrapper(gymnasium.make("CartPole-v1"), run_dir="runs/cartpole")
for episode in range(5):
    env.reset(seed=episode)
    ended = False
    while not ended:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        ended = terminated or truncated
env.close()

print(codex_obs.read("runs/cartpole").select("step", "metric", "value", "tags"))
