"""Stable-Baselines3 on the current run: rollout, time and train are splits."""

from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger

import codex_obs
from codex_obs.integrations.stable_baselines3 import CodexObsOutputFormat

with codex_obs.init("runs/sb3"):
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=256, device="cpu")
    model.set_logger(Logger(None, [CodexObsOutputFormat()]))
    model.learn(1024)
