"""Settings of destinations: secrets, and two names of one thing."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

import codex_obs


def test_a_password_is_in_no_repr_and_in_no_pickle() -> None:
    address = "https://canary-user:canary-password@host:5000/base"
    settings = codex_obs.Settings(mlflow_tracking_uri=address, rank=3)
    assert "canary" not in f"{settings!r} {settings}"
    assert "mlflow_tracking_uri='https://***@host:5000/base'" in repr(settings)
    pickled = pickle.dumps(settings)
    assert b"canary" not in pickled
    arrived = pickle.loads(pickled)
    assert arrived == dataclasses.replace(settings, mlflow_tracking_uri="https://host:5000/base")
    for same in (copy.copy(settings), copy.deepcopy(settings), dataclasses.replace(settings)):
        assert same.mlflow_tracking_uri == address


def test_an_experiment_that_is_given_wins_over_the_environment_by_either_of_its_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "12")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")

    def experiment(settings: codex_obs.Settings) -> tuple[str, str | None]:
        return settings.mlflow_experiment_id, settings.mlflow_experiment_name

    assert experiment(codex_obs.Settings()) == ("12", "theirs")
    assert experiment(codex_obs.Settings(mlflow_experiment_id="7")) == ("7", None)
    assert experiment(codex_obs.Settings(mlflow_experiment_name="ours")) == ("0", "ours")
    assert experiment(codex_obs.Settings(mlflow_experiment_id="7", mlflow_experiment_name="ours")) == ("7", "ours")
    for settings in (codex_obs.Settings(mlflow_experiment_id="7"), codex_obs.Settings(mlflow_experiment_name="ours")):
        assert dataclasses.replace(settings, rank=1) == dataclasses.replace(settings, rank=1)
        assert experiment(dataclasses.replace(settings, rank=1)) == experiment(settings)


@pytest.mark.parametrize("given", ["", " ", "a\nb", "a" * 501, 7, b"a"], ids=repr)
def test_what_cannot_be_the_name_of_an_experiment_is_an_error(given: Any) -> None:
    with pytest.raises(codex_obs.SettingError, match=r"^mlflow_experiment_name="):
        codex_obs.Settings(mlflow_experiment_name=given)


@pytest.mark.parametrize(
    ("field", "given", "taken"),
    [
        ("mlflow_experiment_id", 12, "12"), ("mlflow_experiment_id", np.int64(0), "0"),
        ("mlflow_experiment_id", " 7 ", "7"), ("mlflow_run_id", "0" * 32, "0" * 32), ("mlflow_run_id", None, None),
    ],
)  # fmt: skip
def test_identifiers_may_be_numbers(field: str, given: Any, taken: str | None) -> None:
    assert getattr(codex_obs.Settings(**{field: given}), field) == taken


@pytest.mark.parametrize("field", ["mlflow_run_id", "mlflow_experiment_id"])
@pytest.mark.parametrize("given", ["", " ", "a b", "a/b", "ä", "-", "a" * 257, -1, 1.5, True, b"a", "../x"], ids=repr)
def test_what_cannot_be_an_identifier_is_an_error(field: str, given: Any) -> None:
    with pytest.raises(codex_obs.SettingError, match=f"^{field}="):
        codex_obs.Settings(**{field: given})
