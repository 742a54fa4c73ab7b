"""What ``codex-ndjson sync`` cannot deliver is counted, named and put on record; what it makes says who trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-m", "codex_obs", "sync"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    with codex_obs.init(tmp_path / "run", config={"lr": 0.1}, tags={"team": "x"}) as run:
        run.log({"loss": 0.5}, step=1)
    return tmp_path / "run"


def sync(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def results(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def log_with_deletion(run_dir: Path, steps: range, **settings: Any) -> int:
    """Log rows of which few are kept, and give how many are left in the files."""
    few: Any = {"archive": "none", "backup_count": 1, "max_shard_bytes": 8192, **settings}
    with codex_obs.init(run_dir, **few) as run:
        for step in steps:
            run.log({"loss": step / 2}, step=step)
            run.flush()
    return codex_obs.read(run_dir).height


def missing_tag(tracking: Any) -> str | None:
    (remote,) = tracking.runs.values()
    return {tag["key"]: tag["value"] for tag in remote["data"]["tags"]}.get("codex_obs.rows_missing")


def test_rows_that_were_deleted_before_delivery_are_said_once_and_stay_on_record(tracking: Any, tmp_path: Path) -> None:
    left = log_with_deletion(tmp_path / "run", range(500))
    assert 0 < left < 500
    done = sync(tmp_path / "run", "--uri", tracking.uri)
    words = f"{500 - left} rows were deleted before delivery and are missing on the server (tag codex_obs.rows_missing)"
    assert (done.returncode, done.stderr.count(words)) == (1, 1), done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'run'}: {left} points delivered")
    assert "run marked finished" in done.stdout
    assert [step for *_, step in tracking.points()] == list(range(500 - left, 500))
    assert missing_tag(tracking) == str(500 - left)
    again = sync(tmp_path / "run", "--uri", tracking.uri)
    assert (again.returncode, again.stderr.count(words)) == (0, 1), again.stderr
    assert sync(tmp_path / "run", "--uri", tracking.uri, "--strict").returncode == 1
    (as_data,) = results(sync(tmp_path / "run", "--uri", tracking.uri, "--json"))
    assert (as_data["rows_missing"], as_data["gaps"], as_data["done"]) == (500 - left, 0, True)


def test_of_rows_deleted_behind_a_cursor_only_the_missing_ones_count(tracking: Any, tmp_path: Path) -> None:
    log_with_deletion(tmp_path / "run", range(20))
    assert sync(tmp_path / "run", "--uri", tracking.uri).returncode == 0
    assert missing_tag(tracking) is None
    left = log_with_deletion(tmp_path / "run", range(20, 520), max_unexported_shards=0)
    done = sync(tmp_path / "run", "--uri", tracking.uri)
    assert f"{500 - left} rows were deleted before delivery" in done.stderr
    assert done.returncode == 1
    assert len(tracking.points()) == 20 + left
    assert missing_tag(tracking) == str(500 - left)
    left_again = log_with_deletion(tmp_path / "run", range(520, 1020), max_unexported_shards=0)
    assert sync(tmp_path / "run", "--uri", tracking.uri).returncode == 1
    assert missing_tag(tracking) == str(1000 - len(tracking.points()) + 20)
    assert len(tracking.points()) == 20 + left + left_again


def test_what_is_delivered_may_be_deleted_without_a_word(tracking: Any, tmp_path: Path) -> None:
    with codex_obs.init(
        tmp_path / "run",
        archive="none",
        backup_count=1,
        max_shard_bytes=8192,
        mlflow_tracking_uri=tracking.uri,
        export_interval_s=0.05,
    ) as run:
        for step in range(300):
            run.log({"loss": 1.0}, step=step)
        run.flush()
        run.close(60.0)
    assert run.stats()["export_rows_missing"] == 0
    done = sync(tmp_path / "run", "--uri", tracking.uri)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(tracking.points()) == 300


def test_what_mlflow_has_no_form_for_is_counted_and_named(tracking: Any, tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "run") as run:
        run.log({"a": 1.0, "histogram": [1, 2], "none": None, "words": "text"}, step=1)
        run.event("MISC", "hello", loss=2.0)
    done = sync(tmp_path / "run", "--uri", tracking.uri)
    assert done.returncode == 0
    assert done.stderr == (
        f"{tmp_path / 'run'}: not sent (in the files only): 2 rows with a structured value (MLflow metrics are numbers)"
        ", 1 row without a step, 1 row without a value\n"
    )
    assert tracking.points() == [("train/a", 1.0, 1)]
    again = sync(tmp_path / "run", "--uri", tracking.uri)
    assert (again.stdout.splitlines()[0], again.stderr) == (
        f"{tmp_path / 'run'}: nothing new for MLflow run {1:032x}; run marked finished",
        "",
    )


def test_a_new_mlflow_run_says_who_trained_where_and_on_which_commit(tracking: Any, log: Path) -> None:
    (start, _) = map(json.loads, (log / "run.ndjson").read_text().splitlines())
    assert sync(log, "--uri", tracking.uri).returncode == 0
    (remote,) = tracking.runs.values()
    tags = {tag["key"]: tag["value"] for tag in remote["data"]["tags"]}
    expected = {
        "codex_obs.host": os.uname().nodename,
        "mlflow.user": start["user"],
        "mlflow.source.git.commit": start["git"].get("commit"),
        "mlflow.source.git.branch": start["git"].get("branch"),
    }
    assert {key: tags.get(key) for key in expected} == expected
    assert remote["info"]["name"] == log.name
