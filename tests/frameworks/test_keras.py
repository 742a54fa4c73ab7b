"""Keras: rows equal its history and its CSVLogger, and the run is the user's or stays open after `fit`."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import codex_obs
from run_files import config_of, status_of

if TYPE_CHECKING:
    from pathlib import Path

keras = pytest.importorskip("keras", reason="needs Keras: make frameworks")

from codex_obs.integrations.keras import CodexObsCallback

GENERATOR = np.random.default_rng(0)
X = GENERATOR.random((64, 4), dtype=np.float32)
Y = X.sum(axis=1)


def model(**options: Any) -> Any:
    built = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    built.compile(keras.optimizers.SGD(0.01), "mse", metrics=["mae"], **options)
    return built


def values(run_dir: Path, split: str, metric: str) -> list[float]:
    return codex_obs.read(run_dir).filter(split=split, metric=metric)["value"].to_list()


def test_rows_equal_the_history_and_the_csv_file(run_dir: Path, tmp_path: Path) -> None:
    callback = CodexObsCallback(run_dir=run_dir)
    beside = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    history = model().fit(X, Y, epochs=3, batch_size=16, validation_split=0.25, verbose=0, callbacks=[callback, beside])
    callback.close()
    for name, expected in history.history.items():
        split, metric = ("val", name.removeprefix("val_")) if name.startswith("val_") else ("train", name)
        assert values(run_dir, split, metric) == expected
    with (tmp_path / "log.csv").open() as file:
        assert values(run_dir, "val", "mae") == [float(row["val_mae"]) for row in csv.DictReader(file)]
    rows = codex_obs.read(run_dir).filter(split="train", metric="loss")
    # 48 rows of 64 in batches of 16.
    assert rows["step"].to_list() == [3, 6, 9]
    assert [json.loads(tags) for tags in rows["tags"]] == [{"epoch": epoch} for epoch in range(3)]
    assert values(run_dir, "train", "learning_rate") == [pytest.approx(0.01)] * 3
    config = config_of(run_dir)["keras"]
    assert (config["epochs"], config["parameters"], config["optimizer"]["name"]) == (3, 25, "sgd")
    assert status_of(run_dir) == "finished"


@pytest.mark.parametrize(
    ("update_freq", "steps_per_execution", "steps"),
    [("batch", 1, [1, 2, 3, 4, 5, 6, 7, 8]), (2, 1, [2, 4, 6, 8]), (3, 1, [3, 7]), ("batch", 2, [2, 4, 6, 8])],
)
def test_batches_are_logged_as_often_as_is_asked_for(
    run_dir: Path, update_freq: Any, steps_per_execution: int, steps: list[int]
) -> None:
    callback = CodexObsCallback(run_dir=run_dir, update_freq=update_freq)
    model(steps_per_execution=steps_per_execution).fit(X, Y, epochs=2, batch_size=16, verbose=0, callbacks=[callback])
    callback.close()
    assert codex_obs.read(run_dir).filter(metric="batch_loss")["step"].to_list() == steps


def test_evaluate_after_fit_and_a_second_fit_write_the_same_run(run_dir: Path) -> None:
    callback, built = CodexObsCallback(run_dir=run_dir), model()
    built.fit(X, Y, epochs=1, batch_size=32, verbose=0, callbacks=[callback])
    assert status_of(run_dir) is None
    evaluated = built.evaluate(X, Y, verbose=0, return_dict=True, callbacks=[callback])
    built.fit(X, Y, epochs=1, batch_size=32, verbose=0, callbacks=[callback])
    callback.close()
    assert values(run_dir, "test", "loss") == [pytest.approx(evaluated["loss"])]
    assert codex_obs.read(run_dir).filter(split="train", metric="loss")["step"].to_list() == [2, 4]


def test_the_user_s_run_is_written_and_stays_open_and_current(run_dir: Path) -> None:
    with codex_obs.init(run_dir, config={"lr": 1}) as run:
        model().fit(X, Y, epochs=1, verbose=0, callbacks=[CodexObsCallback()])
        assert codex_obs.current_run() is run
        assert not run.closed
    assert len(values(run_dir, "train", "loss")) == 1
    assert config_of(run_dir)["lr"] == 1


def test_a_run_of_its_own_does_not_take_the_user_s_place(run_dir: Path, tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "mine") as run:
        callback = CodexObsCallback(run_dir=run_dir)
        model().fit(X, Y, epochs=1, verbose=0, callbacks=[callback])
        codex_obs.log({"mine": 1})
        callback.close()
        assert codex_obs.current_run() is run
    assert values(tmp_path / "mine", "train", "mine") == [1.0]
    assert len(values(run_dir, "train", "loss")) == 1


def test_another_rank_than_the_main_one_writes_nothing(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    model().fit(X, Y, epochs=1, verbose=0, callbacks=[CodexObsCallback(run_dir=run_dir)])
    assert not run_dir.exists()


@pytest.mark.parametrize("update_freq", [0, -1, "often", None, 1.5])
def test_an_update_freq_that_is_none_is_refused(update_freq: Any) -> None:
    with pytest.raises(ValueError, match="update_freq"):
        CodexObsCallback(update_freq=update_freq)
