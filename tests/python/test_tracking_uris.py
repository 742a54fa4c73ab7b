"""Addresses of MLflow: servers, stores on this machine, and what is neither."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import codex_obs
from codex_obs._settings.tracking import is_store, path_of
from codex_obs.destinations.mlflow_store import Store, prepare_folder

HERE = "{here}"


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("http://h:5000/base", "http://h:5000/base"),
        ("sqlite:///m.db", "sqlite:////{here}/m.db"),
        ("sqlite:////abs/m.db", "sqlite:////abs/m.db"),
        ("sqlite:///a/../m.db?timeout=5", "sqlite:////{here}/m.db?timeout=5"),
        ("SQLite:///a b/m.db", "sqlite:////{here}/a b/m.db"),
        ("file:///abs/mlruns", "file:///abs/mlruns"),
        ("file:/abs/mlruns/", "file:///abs/mlruns"),
        ("file://localhost/abs", "file:///abs"),
        ("file:./mlruns", "file:///{here}/mlruns"),
        ("file:mlruns", "file:///{here}/mlruns"),
        ("FILE:///a%20b", "file:///a%20b"),
        ("mlruns", "file:///{here}/mlruns"),
        ("./m.l", "file:///{here}/m.l"),
        ("/abs/größe 1%", "file:///abs/gr%C3%B6%C3%9Fe%201%25"),
        (".", "file:///{here}"),
    ],
)
def test_a_store_is_canonical_and_its_path_absolute(given: str, canonical: str, working_directory: Path) -> None:
    expected = canonical.replace("/{here}", str(working_directory))
    settings = codex_obs.Settings(mlflow_tracking_uri=f" {given}\n")
    assert settings.mlflow_tracking_uri == expected
    assert codex_obs.Settings(mlflow_tracking_uri=expected) == settings
    assert is_store(expected) == (not given.startswith("http"))


@pytest.mark.parametrize(
    ("uri", "path"),
    [("sqlite:////a b%/m.db?x=1", "/a b%/m.db"), ("file:///a%20b/%C3%BC", "/a b/ü"), ("file:///plain", "/plain")],
)
def test_the_path_of_a_store(uri: str, path: str) -> None:
    assert path_of(uri) == path


def test_a_path_object_is_a_folder(tmp_path: Path) -> None:
    settings = codex_obs.Settings(mlflow_tracking_uri=tmp_path / "mlruns")  # type: ignore[arg-type]
    assert settings.mlflow_tracking_uri == f"file://{tmp_path}/mlruns"


def test_an_at_in_the_path_of_a_store_is_no_password(tmp_path: Path) -> None:
    settings = codex_obs.Settings(mlflow_tracking_uri=f"{tmp_path}/me@home")
    assert pickle.loads(pickle.dumps(settings)) == settings
    database = codex_obs.Settings(mlflow_tracking_uri=f"sqlite:///{tmp_path}/me@home.db")
    assert pickle.loads(pickle.dumps(database)) == database
    assert "me@home.db" in repr(database)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("postgresql://user:canary@h/db", "sqlite:///mlflow.db"),
        ("mysql+pymysql://user:canary@h/db", "sqlite:///mlflow.db"),
        ("databricks", "sqlite:///mlflow.db"),
        ("databricks://canary", "sqlite:///mlflow.db"),
        ("uc", "sqlite:///mlflow.db"),
        ("s3://canary/mlruns", "sqlite:///mlflow.db"),
        ("localhost:5000", "sqlite:///mlflow.db"),
        ("file://canary/mlruns", "on another host"),
        ("file:///canary/artifacts/mlruns", "below one called artifacts"),
        ("artifacts/canary", "below one called artifacts"),
        ("sqlite://", "in memory"),
        ("sqlite:///", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:canary.db", "in memory"),
        ("mlflow.canary.org", "http:// before a server"),
        ("canary.db", "sqlite:/// before a database"),
        ("true", "./ before the name of a folder"),
        ("1", "./ before the name of a folder"),
        ("/canary\0", "control characters"),
    ],
)
def test_what_is_neither_server_nor_store_is_refused_unseen(given: str, words: str) -> None:
    with pytest.raises(codex_obs.SettingError, match=r"^mlflow_tracking_uri cannot be used: ") as caught:
        codex_obs.Settings(mlflow_tracking_uri=given)
    assert words in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_store_without_its_package_is_an_error_that_says_what_to_install(tmp_path: Path) -> None:
    package = str(Path(codex_obs.__file__).parents[1])
    program = "import sys, codex_obs; from codex_obs import _export\n"
    program += "_export.mlflow(codex_obs.Settings(mlflow_tracking_uri=sys.argv[1]))"
    for uri in ("sqlite:///m.db", "./mlruns"):
        # -S: it sees no installed package.
        done = subprocess.run(
            [sys.executable, "-S", "-c", program, uri],
            env={"PYTHONPATH": package},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        last = done.stderr.splitlines()[-1]
        assert last == (
            "codex_obs.errors.SettingError: an MLflow store needs the package mlflow: pip install 'codex_obs[mlflow]'"
        )
        assert list(tmp_path.iterdir()) == []


def test_what_the_store_does_not_know_is_a_stranger_s_answer(tmp_path: Path) -> None:
    status, body = Store(f"file://{tmp_path}/mlruns")("GET", "/api/2.0/mlflow/runs/delete", b"")
    assert (status, json.loads(body)["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_gets_experiment_0_once_and_a_deleted_one_stays_deleted(tmp_path: Path) -> None:
    root = tmp_path / "ml runs"
    prepare_folder(root)
    meta = root / "0" / "meta.yaml"
    before = meta.read_text()
    assert f'artifact_location: "file://{tmp_path}/ml%20runs/0"\n' in before
    prepare_folder(root)
    assert meta.read_text() == before
    assert [path.name for path in meta.parent.iterdir()] == ["meta.yaml"]
    trash = tmp_path / "other" / ".trash" / "0"
    trash.mkdir(parents=True)
    prepare_folder(tmp_path / "other")
    assert not (tmp_path / "other" / "0").exists()
