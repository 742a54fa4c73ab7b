"""For trainers of reinforcement learning: what the events of a run are to have, and when a policy is evaluated.

A trainer logs its events by `Run.event`: TRAINER, ACTOR and MISC at each update, EVALUATOR after each evaluation.
``codex-obs check RUN --schema rl`` says what of it is missing.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SCHEMA", "should_evaluate"]

SCHEMA: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "TRAINER": (),
        "ACTOR": (),
        "EVALUATOR": (
            "phase",
            "policy_version",
            "episodes",
            "mean_return",
            "max_return",
            "min_return",
            "episode_length_mean",
            "episode_length_max",
            "episode_length_min",
            "duration_ms",
        ),
        "MISC": (),
    }
)
"""The keys that each event of a category has, beside whatever else it has.

Returns are sums of rewards without discount, lengths are steps, ``duration_ms`` is how long the evaluation took, in
milliseconds. ``phase`` is text, such as ``"eval"``; ``policy_version`` is the number of the update whose policy was
evaluated.
"""


def should_evaluate(update: int, eval_interval: int, num_eval_episodes: int) -> bool:
    """Return whether a policy is evaluated after an update.

    Args:
        update: Number of the update.
        eval_interval: Updates from one evaluation to the next; 0 or less switches evaluations off.
        num_eval_episodes: Episodes of an evaluation; 0 or less switches evaluations off.

    Returns:
        Whether `update` is a multiple of the interval and there are episodes to play.
    """
    return eval_interval > 0 and num_eval_episodes > 0 and update % eval_interval == 0
