"""scikit-learn: the score after each iteration, and the results of a search with two workers."""

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import codex_obs
from codex_obs.integrations.sklearn import CodexObsCallback

inputs, targets = load_iris(return_X_y=True)

if __name__ == "__main__":
    with codex_obs.init("runs/search"):
        pipeline = make_pipeline(StandardScaler(), LogisticRegression())
        search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1.0, 10.0]}, n_jobs=2)
        search.set_callbacks(CodexObsCallback())
        search.fit(inputs, targets)
    print(codex_obs.read("runs/search").filter(split="cv", metric="mean_test_score"))
