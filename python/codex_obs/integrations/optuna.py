"""Optuna: ``study.optimize(objective, callbacks=[CodexObsCallback()])``, and `trial_run` for a run of each trial."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from codex_obs.api import init_beside
from codex_obs.integrations import _target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Self, Unpack

    from codex_obs._run import Run
    from codex_obs.types import InitArguments, RunPath

__all__ = ["CodexObsCallback", "trial_run"]


class CodexObsCallback:
    """Logs each trial of a study as it ends: values, parameters, intermediate values, duration.

    Rows of a trial have its number as their step and the split ``trials``; those of ``trial.report`` have the reported
    step and the split ``intermediate``. The tags say which trial, its state and its parameters. Optuna does not say
    when a study is done: a run of its own is finished by `close`, by ``with``, or at the end of the program.

    Args:
        run: Run to write. Default: the current run, else one of its own.
        **arguments: What `codex_obs.init` takes (``run_dir`` too), for a run of its own.
    """

    def __init__(self, run: Run | None = None, **arguments: Unpack[_target.TargetArguments]) -> None:
        self._target = _target.make(run, arguments)
        self._has_params = False

    def __call__(self, study: Any, trial: Any) -> None:  # noqa: ANN401 - Optuna may not be installed
        """Log a trial that has ended, whatever its state."""
        if not self._has_params:
            self._has_params = True
            directions = [direction.name.lower() for direction in study.directions]
            self._target.open({"study": study.study_name, "directions": directions})
        state = trial.state.name
        words = {"trial": trial.number, "state": state, "params": trial.params}
        numbers: dict[str, object] = dict(
            zip(_names(study), trial.values or [None] * len(study.directions), strict=True)
        )
        if trial.duration is not None:
            numbers["duration_s"] = trial.duration.total_seconds()
        numbers |= {f"params/{name}": value for name, value in trial.params.items() if _is_number(value)}
        self._target.log({"trials": numbers}, trial.number, tags=words)
        for step, value in sorted(trial.intermediate_values.items()):
            self._target.log({"intermediate": {"value": value}}, step, tags={"trial": trial.number, "state": state})

    def close(self) -> None:
        """Finish the run, if it is one of its own."""
        self._target.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._target.close("finished" if error is None else "failed")


@contextmanager
def trial_run(trial: Any, folder: RunPath, **arguments: Unpack[InitArguments]) -> Iterator[Run]:  # noqa: ANN401 - as above
    """Open a run of its own for a trial, the current one of this thread: ``<folder>/trial-0007``.

    What the trial suggested by the end is in its parameters. A pruned trial is finished and not failed: the last row,
    an event with the tag ``pruned``, says why.

    Args:
        trial: The trial that the objective was given.
        folder: Where the runs of the study lie.
        **arguments: What `codex_obs.init` takes.
    """
    tags = {"trial": trial.number, "study": trial.study.study_name}
    arguments.setdefault("tags", tags)
    run, _ = init_beside(Path(folder) / f"trial-{trial.number:04}", **arguments)
    with run:
        try:
            yield run
        except Exception as error:
            if type(error).__name__ == "TrialPruned":
                run.event("MISC", str(error) or "pruned", pruned=True)
            raise
        finally:
            run.log_params({**trial.params})


def _names(study: Any) -> list[str]:  # noqa: ANN401 - as above
    if study.metric_names is not None:
        return list(study.metric_names)
    return ["value"] if len(study.directions) == 1 else [f"values/{number}" for number in range(len(study.directions))]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
