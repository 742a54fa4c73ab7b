"""Gymnasium: ``env = CodexObsWrapper(gymnasium.make("CartPole-v1"))``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from codex_obs.integrations import _target
from codex_obs.integrations._needed import needed

if TYPE_CHECKING:
    from typing import Any, Unpack

    from codex_obs._run import Run

__all__ = ["CodexObsWrapper"]

_gymnasium = needed("gymnasium", extra="gymnasium")


class CodexObsWrapper(_gymnasium.Wrapper):  # type: ignore[misc, name-defined]  # Gymnasium may not be installed
    """Logs return, length and time of each episode, at the number of environment steps so far.

    Inside of it, ``RecordEpisodeStatistics`` gives the figures, so that both agree; else they are counted here.
    ``close`` of the environment finishes a run of its own.

    Args:
        env: The environment.
        run: Run to write. Default: the current run, else one of its own.
        split: Split of the rows.
        **arguments: What `codex_obs.init` takes (``run_dir`` too), for a run of its own.
    """

    def __init__(
        self,
        env: Any,  # noqa: ANN401 - Gymnasium may not be installed
        run: Run | None = None,
        *,
        split: str = "train",
        **arguments: Unpack[_target.TargetArguments],
    ) -> None:
        super().__init__(env)
        self._target = _target.make(run, arguments)
        self._split = split
        self._steps = 0
        self._episodes = 0
        self._return = 0.0
        self._length = 0
        self._began_s = time.perf_counter()

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401 - as above
        """Begin an episode."""
        self._return, self._length, self._began_s = 0.0, 0, time.perf_counter()
        found: tuple[Any, dict[str, Any]] = self.env.reset(**options)
        return found

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ANN401 - as above
        """Act, and log an episode that has ended."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        self._length += 1
        self._return += float(reward)
        if terminated or truncated:
            self._log(info.get("episode") or {}, is_truncated=not terminated)
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        """Close the environment, and finish the run if it is one of its own."""
        super().close()
        self._target.close()

    def _log(self, counted: dict[str, Any], *, is_truncated: bool) -> None:
        self._target.open(None if self._episodes else {"environment": getattr(self.spec, "id", None)})
        numbers = {
            "episode_return": counted.get("r", self._return),
            "episode_length": counted.get("l", self._length),
            "episode_time_s": counted.get("t", time.perf_counter() - self._began_s),
        }
        tags = {"episode": self._episodes, "truncated": is_truncated}
        self._episodes += 1
        self._target.log({self._split: numbers}, self._steps, tags=tags)
