"""scikit-learn 1.9 and later: ``estimator.set_callbacks(CodexObsCallback())``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from codex_obs.integrations import _target

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Unpack

    from codex_obs._run import Run

__all__ = ["CodexObsCallback"]

_SEARCH_COLUMNS = ("mean_test_", "std_test_", "rank_test_", "mean_train_", "mean_fit_time", "mean_score_time")


class CodexObsCallback:
    """Logs the score after each iteration of an estimator that has iterations, and the results of a search.

    Rows of an iteration have its number as their step and the split ``train``; the tag ``task`` is the path that leads
    to it, which tells the fits of a search apart. A search's ``cv_results_`` is the split ``cv``, one step a candidate,
    with its parameters as tags. Workers (``n_jobs``) write streams of the same run.

    Args:
        run: Run to write. Default: the current run, else one of its own.
        scoring: What is computed after an iteration: None for the estimator's own ``score``, False for nothing, else
            a function of estimator, X and y.
        **arguments: What `codex_obs.init` takes (``run_dir`` too), for a run of its own.
    """

    # scikit-learn hands the callback on to every estimator inside.
    max_propagation_depth = None

    def __init__(
        self,
        run: Run | None = None,
        *,
        scoring: Callable[[Any, Any, Any], float] | bool | None = None,
        **arguments: Unpack[_target.TargetArguments],
    ) -> None:
        self._target = _target.make(run, arguments)
        self._scoring = scoring
        self._began_s = 0.0

    def setup(self, estimator: Any, context: Any) -> None:  # noqa: ANN401, ARG002 - scikit-learn may not be installed
        """Open the run, before there are workers."""
        self._began_s = time.monotonic()
        self._target.open({type(estimator).__name__: estimator.get_params()})

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:  # noqa: ANN401 - as above
        """Do nothing: a task is logged when it ends."""

    def on_fit_task_end(
        self,
        estimator: Any,  # noqa: ANN401 - as above
        context: Any,  # noqa: ANN401 - as above
        *,
        X: Any = None,  # noqa: ANN401, N803 - as scikit-learn calls it
        y: Any = None,  # noqa: ANN401 - as above
        fitted_estimator: Any = None,  # noqa: ANN401 - as above
    ) -> bool:
        """Log the score of an iteration."""
        is_iteration = context.parent is not None and context.max_subtasks == 0 and context.parent.sequential_subtasks
        if is_iteration and self._scoring is not False and fitted_estimator is not None and X is not None:
            score = self._scoring if callable(self._scoring) else _own_score
            if callable(self._scoring) or hasattr(fitted_estimator, "score"):
                words = {"estimator": type(estimator).__name__, "task": _path(context)}
                self._target.log({"train": {"score": score(fitted_estimator, X, y)}}, context.task_id, tags=words)
        # True would stop the fit.
        return False

    def teardown(self, estimator: Any, context: Any) -> None:  # noqa: ANN401, ARG002 - as above
        """Log what the whole fit gave."""
        name = {"estimator": type(estimator).__name__}
        results = getattr(estimator, "cv_results_", None)
        if results is not None:
            columns = [column for column in results if column.startswith(_SEARCH_COLUMNS)]
            for number, params in enumerate(results["params"]):
                numbers = {column: results[column][number] for column in columns}
                self._target.log({"cv": numbers}, number, tags={**name, "params": params})
        totals: dict[str, object] = {"fit_time_s": time.monotonic() - self._began_s}
        for attribute in ("best_score_", "n_iter_"):
            if hasattr(estimator, attribute):
                totals[attribute.strip("_")] = getattr(estimator, attribute)
        self._target.log({"fit": totals}, None, tags=name)
        self._target.flush()

    def close(self) -> None:
        """Finish the run, if it is one of its own."""
        self._target.close()


def _own_score(estimator: Any, X: Any, y: Any) -> float:  # noqa: ANN401, N803 - as above
    return float(estimator.score(X) if y is None else estimator.score(X, y))


def _path(context: Any) -> str:  # noqa: ANN401 - as above
    words = []
    while context is not None:
        is_root = context.parent is None
        words.append(context.estimator_name if is_root else f"{context.task_name} {context.task_id}")
        context = context.parent
    return "/".join(reversed(words))
