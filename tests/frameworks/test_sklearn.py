"""scikit-learn: scores of iterations and results of a search, as the estimator has them, also from workers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from run_files import config_of, status_of

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("sklearn.callback", reason="needs scikit-learn 1.9: make frameworks")

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from codex_obs.integrations.sklearn import CodexObsCallback

X, Y = load_iris(return_X_y=True)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_each_iteration_has_its_score_and_the_last_is_that_of_the_model(run_dir: Path) -> None:
    callback = CodexObsCallback(run_dir=run_dir)
    model = LogisticRegression(max_iter=10).set_callbacks(callback).fit(X, Y)
    callback.close()
    rows = codex_obs.read(run_dir).filter(metric="score")
    assert rows["step"].to_list() == list(range(int(model.n_iter_[0])))
    assert rows["value"].to_list()[-1] == model.score(X, Y)
    assert config_of(run_dir)["LogisticRegression"]["max_iter"] == 10
    assert status_of(run_dir) == "finished"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_is_logged_as_its_results_say(run_dir: Path, n_jobs: int) -> None:
    callback = CodexObsCallback(run_dir=run_dir)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5))
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1.0, 10.0]}, cv=2, n_jobs=n_jobs)
    search.set_callbacks(callback).fit(X, Y)
    callback.close()
    rows = codex_obs.read(run_dir)
    scores = rows.filter(split="cv", metric="mean_test_score")
    assert scores["value"].to_list() == search.cv_results_["mean_test_score"].tolist()
    assert scores["step"].to_list() == [0, 1, 2]
    assert [json.loads(tags)["params"] for tags in scores["tags"]] == search.cv_results_["params"]
    assert rows.filter(split="fit", metric="best_score")["value"].to_list() == [search.best_score_]
    iterations = rows.filter(split="train", metric="score")
    # Three candidates on two parts of the data, and the best of them on all of it.
    tasks = {json.loads(tags)["task"].rpartition("/")[0] for tags in iterations["tags"]}
    assert len(tasks) == 7


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_no_score_is_computed_where_none_is_wanted_and_another_one_where_it_is(run_dir: Path) -> None:
    def negative_score(estimator: Any, x: Any, y: Any) -> float:
        return -float(estimator.score(x, y))

    with codex_obs.init(run_dir):
        LogisticRegression().set_callbacks(CodexObsCallback(scoring=False)).fit(X, Y)
        assert codex_obs.flush()
        assert codex_obs.read(run_dir).filter(split="train").height == 0
        LogisticRegression().set_callbacks(CodexObsCallback(scoring=negative_score)).fit(X, Y)
    assert codex_obs.read(run_dir).filter(metric="score")["value"][-1] < -0.9
