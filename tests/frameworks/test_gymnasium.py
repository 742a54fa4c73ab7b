"""Gymnasium: an episode's rows are what its own statistics say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from run_files import config_of, status_of

if TYPE_CHECKING:
    from pathlib import Path

gymnasium = pytest.importorskip("gymnasium", reason="needs gymnasium: make frameworks")

from codex_obs.integrations.gymnasium import CodexObsWrapper


def play(env: Any, episodes: int) -> list[tuple[int, float, int]]:
    """Play with random actions, and give step, return and length of each episode."""
    env.action_space.seed(1)
    found, steps = [], 0
    for episode in range(episodes):
        env.reset(seed=episode)
        total, length, ended = 0.0, 0, False
        while not ended:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total, length, steps, ended = total + reward, length + 1, steps + 1, terminated or truncated
        found.append((steps, total, length))
    return found


@pytest.mark.parametrize("counted", [True, False])
def test_each_episode_is_logged_at_the_steps_so_far(run_dir: Path, counted: bool) -> None:  # noqa: FBT001
    env = gymnasium.make("CartPole-v1")
    env = CodexObsWrapper(gymnasium.wrappers.RecordEpisodeStatistics(env) if counted else env, run_dir=run_dir)
    played = play(env, 4)
    env.close()
    rows = codex_obs.read(run_dir)
    returns, lengths = (rows.filter(metric=f"episode_{name}") for name in ("return", "length"))
    assert list(zip(returns["step"], returns["value"], lengths["value"], strict=True)) == played
    assert returns["tags"].to_list() == [f'{{"episode":{number},"truncated":false}}' for number in range(4)]
    assert config_of(run_dir) == {"environment": "CartPole-v1"}
    assert status_of(run_dir) == "finished"


def test_an_episode_that_is_cut_short_says_so(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        env = CodexObsWrapper(gymnasium.make("CartPole-v1", max_episode_steps=3), run, split="eval")
        assert play(env, 1) == [(3, 3.0, 3)]
        env.close()
        assert not run.closed
    rows = codex_obs.read(run_dir)
    assert (set(rows["split"]), set(rows["tags"])) == ({"eval"}, {'{"episode":0,"truncated":true}'})
