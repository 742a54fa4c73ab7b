"""The guard of MLflow's own client: what each address becomes, and that nothing happens before it is called."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import codex_obs
from codex_obs import mlflow_guard
from codex_obs._settings.variables import GUARD_ALLOWS, GUARD_FOLDER, GUARD_SAMPLES, GUARD_URI

if TYPE_CHECKING:
    from collections.abc import Iterator

TOUCHED = (
    GUARD_URI,
    GUARD_FOLDER,
    *GUARD_ALLOWS,
    GUARD_SAMPLES,
    "MLFLOW_ALLOW_FILE_STORE",
    "MLFLOW_DISABLE_TELEMETRY",
    "DO_NOT_TRACK",
)
LOCAL = [
    ("mlruns", "file://{here}/mlruns"),
    (" ./a b/c ", "file://{here}/a%20b/c"),
    ("host.name", "file://{here}/host.name"),
    ("file:rel", "file://{here}/rel"),
    ("file:./rel/", "file://{here}/rel"),
    ("file:{here}/one", "file://{here}/one"),
    ("file://{here}/two", "file://{here}/two"),
    ("FILE://localhost{here}/three", "file://{here}/three"),
    ("sqlite:///m.db", "sqlite:///m.db"),
    ("sqlite:///{here}/deep/m.db?timeout=9", "sqlite:///{here}/deep/m.db?timeout=9"),
]
ELSEWHERE = [
    ("http://127.0.0.1:5000", "non_file_scheme"),
    ("https://user:canary@h/base", "non_file_scheme"),
    ("databricks", "non_file_scheme"),
    ("Databricks", "non_file_scheme"),
    ("databricks://profile", "non_file_scheme"),
    ("databricks-uc", "non_file_scheme"),
    ("uc", "non_file_scheme"),
    ("uc:profile", "non_file_scheme"),
    ("postgresql://user:canary@h/db", "non_file_scheme"),
    ("mysql+pymysql://user:canary@h/db", "non_file_scheme"),
    ("mssql+pyodbc://h/db", "non_file_scheme"),
    ("s3://bucket/mlruns", "non_file_scheme"),
    ("dbfs:/mlruns", "non_file_scheme"),
    ("localhost:5000", "non_file_scheme"),
    ("file://host/mlruns", "non_local_host"),
    ("FILE://HOST/mlruns", "non_local_host"),
]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, working_directory: Path) -> Iterator[None]:
    for name in TOUCHED:
        # Restored afterwards, whatever the guard sets.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(mlflow_guard._Memory, "decision", None)
    monkeypatch.setattr(mlflow_guard._Memory, "own_uri", None)
    assert Path.cwd() == working_directory
    yield
    for name in TOUCHED:
        os.environ.pop(name, None)


def here(text: str) -> str:
    return text.replace("{here}", str(Path.cwd()))


def decided() -> mlflow_guard.Decision:
    assert mlflow_guard._Memory.decision is not None
    return mlflow_guard._Memory.decision


@pytest.mark.parametrize(("given", "effective"), LOCAL)
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_what_is_on_this_machine_is_made_canonical_and_exists(
    given: str, effective: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, effective = here(given), here(effective)
    if by == "environment":
        monkeypatch.setenv(GUARD_URI, given)
    assert mlflow_guard.ensure_file_backend(given if by == "argument" else None) == effective
    assert os.environ[GUARD_URI] == effective
    assert os.environ.get("MLFLOW_ALLOW_FILE_STORE") == ("true" if effective.startswith("file:") else None)
    assert (os.environ["MLFLOW_DISABLE_TELEMETRY"], os.environ["DO_NOT_TRACK"]) == ("true", "true")
    decision = decided()
    assert (decision.requested_uri, decision.effective_uri) == (given.strip(), effective)
    assert (decision.tracking_uri, decision.fallback_reason, decision.allow_remote) == (effective, None, False)
    if effective.startswith("file:"):
        folder = Path(effective.removeprefix("file://").replace("%20", " "))
        assert (folder / "0" / "meta.yaml").is_file()
    assert not (Path.cwd() / "artifacts").exists()


@pytest.mark.parametrize(("given", "reason"), ELSEWHERE)
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_what_is_elsewhere_becomes_the_folder_of_this_machine(
    given: str, reason: str, by: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if by == "environment":
        monkeypatch.setenv(GUARD_URI, given)
    default = here("file://{here}/artifacts/mlruns")
    with caplog.at_level(logging.WARNING, "codex_obs"):
        assert mlflow_guard.ensure_file_backend(given if by == "argument" else None) == default
    assert os.environ[GUARD_URI] == default
    decision = decided()
    assert (decision.effective_uri, decision.fallback_reason) == (default, reason)
    assert decision.requested_uri == given.replace("user:canary", "***")
    assert "canary" not in f"{decision}{caplog.text}"
    assert f"({reason}); MLFLOW_ALLOW_REMOTE=1 allows that" in caplog.text


@pytest.mark.parametrize("variable", GUARD_ALLOWS)
@pytest.mark.parametrize(
    ("text", "allows"),
    [("1", "allowed"), ("true", "allowed"), ("YES", "allowed"), (" On ", "allowed"), ("0", ""), ("", ""), ("2", "")],
)
@pytest.mark.parametrize("given", ["http://user:canary@h", "databricks", "file://host/mlruns"])
def test_a_switch_allows_what_is_elsewhere(
    variable: str, text: str, allows: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    effective = mlflow_guard.ensure_file_backend(given)
    assert (effective == given) == bool(allows)
    decision = decided()
    assert (decision.allow_remote_flag, decision.allow_remote) == (text, bool(allows))
    assert (decision.fallback_reason is None) == bool(allows)
    assert (os.environ[GUARD_URI] == given) == bool(allows)
    assert "canary" not in str(decision)


def test_either_switch_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GUARD_ALLOWS[0], "no")
    monkeypatch.setenv(GUARD_ALLOWS[1], "yes")
    assert mlflow_guard.ensure_file_backend("http://h") == "http://h"
    assert decided().allow_remote_flag == "yes"


def test_the_default_is_a_folder_that_a_variable_may_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mlflow_guard.ensure_file_backend() == here("file://{here}/artifacts/mlruns")
    assert decided().requested_uri is None
    monkeypatch.setenv(GUARD_FOLDER, "elsewhere")
    assert mlflow_guard.ensure_file_backend() == here("file://{here}/elsewhere")
    assert mlflow_guard.ensure_file_backend("http://h") == here("file://{here}/elsewhere")
    monkeypatch.setenv(GUARD_FOLDER, "http://h")
    with pytest.raises(codex_obs.SettingError, match=GUARD_FOLDER):
        mlflow_guard.ensure_file_backend("http://h")


def test_a_folder_in_which_mlflow_finds_no_run_is_said(caplog: pytest.LogCaptureFixture) -> None:
    mlflow_guard.ensure_file_backend("plain/mlruns")
    assert caplog.text == ""
    mlflow_guard.ensure_file_backend()
    assert "finds no run" in caplog.text
    assert GUARD_FOLDER in caplog.text


def test_what_was_decided_here_is_not_taken_for_a_wish() -> None:
    first = mlflow_guard.ensure_file_backend("first")
    assert mlflow_guard.ensure_file_backend() == here("file://{here}/artifacts/mlruns") != first


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(working_directory: Path) -> None:
    (working_directory / "file").write_text("")
    with pytest.raises(codex_obs.SettingError, match=r"MLflow's data cannot be in .*/file/mlruns"):
        mlflow_guard.ensure_file_backend("file/mlruns")
    assert GUARD_URI not in os.environ


@pytest.mark.parametrize(("given", "status"), [("here", "enabled"), ("https://user:canary@h", "degraded")])
def test_the_next_run_has_the_decision_on_record_and_the_one_after_has_not(
    given: str, status: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GUARD_SAMPLES, "true")
    effective = mlflow_guard.ensure_file_backend(given)
    for _ in range(2):
        codex_obs.init(run_dir).close()
    text = (run_dir / "tracking_summary.ndjson").read_text()
    (record,) = [line for line in map(json.loads, text.splitlines()) if line["component"] == "mlflow"]
    assert record["status"] == status
    assert record["reason"] == ("mlflow:local_store" if status == "enabled" else "mlflow:non_file_scheme")
    assert record["extra"] == {
        "dependencies": {"psutil_available": None, "nvml_available": None},
        "totals": {},
        "requested_uri": given.replace("user:canary", "***"),
        "effective_uri": effective,
        "tracking_uri": effective,
        "fallback_reason": None if status == "enabled" else "non_file_scheme",
        "allow_remote_flag": None,
        "allow_remote": False,
        "system_metrics_enabled": True,
    }
    assert "canary" not in text


def test_importing_it_changes_nothing(working_directory: Path) -> None:
    program = (
        "import os, threading; import codex_obs; before = dict(os.environ)\n"
        "import sys, codex_obs.mlflow_guard\n"
        "assert dict(os.environ) == before and threading.active_count() == 1\n"
        "assert 'mlflow' not in sys.modules\n"
    )
    variables = {"PYTHONPATH": str(Path(codex_obs.__file__).parents[1]), GUARD_URI: "http://h"}
    subprocess.run([sys.executable, "-c", program], check=True, env=variables, cwd=working_directory)
    assert list(working_directory.iterdir()) == []
