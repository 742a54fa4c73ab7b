"""``codex-ndjson sync``: which MLflow run and which experiment it takes, and what it says of that beforehand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from codex_obs.cli import main; main()", "sync"]
FIRST, SECOND, THIRD = (f"{number:032x}" for number in (1, 2, 3))


def sync(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def named_in(run_dir: Path, tracking: Any) -> str | None:
    """Give the MLflow run that run.json names."""
    document = json.loads((run_dir / "run.json").read_text())
    named: str | None = document["destinations"].get(f"mlflow {tracking.uri}")
    return named


def values_of(tracking: Any, remote: str) -> list[float]:
    return [metric["value"] for metric in tracking.runs[remote]["data"]["metrics"]]


def log(run_dir: Path, value: float, **options: Any) -> None:
    with codex_obs.init(run_dir, **options) as run:
        run.log({"loss": value})


@pytest.fixture
def delivered(tracking: Any, run_dir: Path) -> Path:
    """Give a run of which everything is in an MLflow run."""
    log(run_dir, 0.5)
    assert sync(run_dir, "--uri", tracking.uri).returncode == 0
    assert named_in(run_dir, tracking) == FIRST
    return run_dir


def other_run(tracking: Any) -> str:
    made: str = tracking.answer("runs/create", {"experiment_id": "0", "tags": []})["run"]["info"]["run_id"]
    return made


def test_a_new_run_takes_everything_and_the_place_in_run_json(tracking: Any, delivered: Path) -> None:
    done = sync(delivered, "--uri", tracking.uri, "--new-run")
    assert done.returncode == 0
    sentence, page = done.stdout.splitlines()
    assert sentence == f"{delivered}: 1 point delivered to MLflow run {SECOND}; run marked finished"
    assert page == f"{delivered}: {tracking.uri}/#/experiments/0/runs/{SECOND}"
    beforehand, afterwards = done.stderr.splitlines()
    assert (
        beforehand == f"{delivered}: delivering to a new MLflow run, which is to take the place of {FIRST} in run.json"
    )
    assert afterwards.endswith(f"run.json names the run {SECOND} from now on, no longer {FIRST}")
    assert named_in(delivered, tracking) == SECOND
    log(delivered, 0.25, mlflow_tracking_uri=tracking.uri)
    assert (values_of(tracking, FIRST), values_of(tracking, SECOND)) == ([0.5], [0.5, 0.25])
    again = sync(delivered, "--uri", tracking.uri)
    assert (again.stderr, len(tracking.runs)) == ("", 2)
    assert again.stdout.startswith(f"{delivered}: nothing new for MLflow run {SECOND}")


def test_a_new_run_of_all_streams_is_one(tracking: Any, run_dir: Path) -> None:
    for rank in (0, 1):
        log(run_dir, rank, rank=rank)
    arguments = (run_dir, "--uri", tracking.uri, "--export-ranks", "all")
    assert sync(*arguments).returncode == 0
    assert sync(*arguments, "--new-run").returncode == 0
    assert len(tracking.runs) == 2
    assert sorted(values_of(tracking, SECOND)) == sorted(values_of(tracking, FIRST)) == [0.0, 1.0]


def test_the_set_run_is_no_obstacle_to_a_new_one(tracking: Any, delivered: Path) -> None:
    done = sync(delivered, "--uri", tracking.uri, "--new-run", CODEX_OBS_MLFLOW_RUN_ID=FIRST)
    assert done.returncode == 0
    assert named_in(delivered, tracking) == SECOND


def test_a_dry_run_counts_for_the_run_that_is_asked_for(tracking: Any, delivered: Path) -> None:
    before = list(tracking.calls)
    for arguments, words in [
        ([], f"0 points would be delivered to MLflow run {FIRST}"),
        (["--run-id", FIRST], f"0 points would be delivered to MLflow run {FIRST}"),
        (["--run-id", "abc"], "1 point and the status finished would be delivered to MLflow run abc"),
        (["--new-run"], "1 point and the status finished would be delivered to a new MLflow run"),
    ]:
        done = sync(delivered, "--uri", tracking.uri, "--dry-run", *arguments)
        assert (done.returncode, done.stdout) == (0, f"{delivered}: {words}\n")
        assert ("delivering to" in done.stderr) == (arguments[:1] == ["--new-run"] or "abc" in arguments)
    assert tracking.calls == before


def test_another_run_takes_the_place_in_run_json_and_that_is_said_first(tracking: Any, delivered: Path) -> None:
    other = other_run(tracking)
    done = sync(delivered, "--uri", tracking.uri, "--run-id", other)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == f"{delivered}: 1 point delivered to MLflow run {other}; run marked finished"
    beforehand, afterwards = done.stderr.splitlines()
    assert (
        beforehand == f"{delivered}: delivering to the MLflow run {other}, which takes the place of {FIRST} in run.json"
    )
    assert afterwards.endswith(f"run.json names the run {other} from now on, no longer {FIRST}")
    assert named_in(delivered, tracking) == other
    log(delivered, 0.25, mlflow_tracking_uri=tracking.uri)
    assert (values_of(tracking, FIRST), values_of(tracking, other)) == ([0.5], [0.5, 0.25])
    assert sync(delivered, "--uri", tracking.uri).stdout.startswith(f"{delivered}: nothing new for MLflow run {other}")
    # Back again: the first one gets what it lacks.
    back = sync(delivered, "--uri", tracking.uri, "--run-id", FIRST)
    assert back.stdout.startswith(f"{delivered}: 1 point delivered to MLflow run {FIRST}")
    assert values_of(tracking, FIRST) == [0.5, 0.25]


@pytest.mark.usefixtures("delivered")
def test_the_run_of_another_log_is_not_taken_over(tracking: Any, tmp_path: Path) -> None:
    before = json.dumps(tracking.runs)
    log(tmp_path / "other", 0.25)
    done = sync(tmp_path / "other", "--uri", tracking.uri, "--run-id", FIRST)
    assert done.returncode == 1
    assert f"the MLflow run {FIRST} at {tracking.uri} is that of another run" in done.stderr
    assert f"`codex-ndjson sync {tmp_path / 'other'} --to mlflow --uri {tracking.uri} --new-run`" in done.stderr
    assert (json.dumps(tracking.runs), named_in(tmp_path / "other", tracking)) == (before, None)
    # A session that is told to goes on logging to its files.
    log(tmp_path / "third", 0.125, mlflow_tracking_uri=tracking.uri, mlflow_run_id=FIRST)
    summary = (tmp_path / "third" / "tracking_summary.ndjson").read_text()
    assert "is that of another run" in summary
    assert "0.125" in (tmp_path / "third" / "metrics.ndjson").read_text()
    assert json.dumps(tracking.runs) == before


def test_a_directory_that_is_named_twice_is_delivered_once(tracking: Any, delivered: Path) -> None:
    done = sync(delivered, f"{delivered}/", delivered / ".." / delivered.name, "--uri", tracking.uri, "--new-run")
    assert (done.returncode, done.stdout.count("delivered to"), len(tracking.runs)) == (0, 1, 2)


def interrupt(tracking: Any, condition: Any, *arguments: object) -> str:
    """Give what is said where Ctrl-C comes once something is true at the server."""
    with subprocess.Popen([*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, text=True) as command:
        tracking.wait(condition)
        command.send_signal(signal.SIGINT)
        _, errors = command.communicate(timeout=120)
    assert command.returncode == 130
    assert "Traceback" not in errors
    return errors


def test_after_ctrl_c_it_is_said_whether_there_is_a_new_run(tracking: Any, delivered: Path, tmp_path: Path) -> None:
    log(tmp_path / "later", 0.25)
    command = (delivered, tmp_path / "later", "--uri", tracking.uri, "--new-run")
    later = f"{tmp_path / 'later'}: run.json names no new MLflow run: the same command creates one"
    tracking.refusal = (503, "come back later")
    before = len(tracking.headers)
    *_, first, second = interrupt(tracking, lambda: len(tracking.headers) > before, *command).splitlines()
    assert (first, second) == (f"{delivered}: run.json names no new MLflow run: the same command creates one", later)
    tracking.refusal = None
    tracking.refused_metric, tracking.refused_status = "train/loss", 503
    calls = tracking.calls
    begun = len(calls)

    def is_in_run_json() -> bool:
        return any(body.get("metrics") for _, body in calls[begun:])

    *_, first, second = interrupt(tracking, is_in_run_json, *command).splitlines()
    assert first == f"{delivered}: run.json names the new MLflow run {SECOND}: without --new-run the command resumes it"
    assert (second, named_in(delivered, tracking)) == (later, SECOND)


def test_another_run_stays_where_the_known_one_is_deleted(tracking: Any, delivered: Path) -> None:
    other = other_run(tracking)
    tracking.runs[FIRST]["info"]["lifecycle_stage"] = "deleted"
    done = sync(delivered, "--uri", tracking.uri, "--run-id", other)
    assert done.returncode == 0
    assert f"run.json names the run {other} from now on, no longer {FIRST}" in done.stderr
    assert named_in(delivered, tracking) == other


def test_the_first_run_that_is_named_stays(tracking: Any, run_dir: Path) -> None:
    log(run_dir, 0.5)
    other = other_run(tracking)
    done = sync(run_dir, "--uri", tracking.uri, "--run-id", other)
    assert (done.returncode, done.stderr) == (0, "")
    assert named_in(run_dir, tracking) == other


def test_the_run_that_a_setting_names_stays(tracking: Any, delivered: Path) -> None:
    other = other_run(tracking)
    log(delivered, 0.25, mlflow_tracking_uri=tracking.uri, mlflow_run_id=other)
    assert named_in(delivered, tracking) == other


def test_an_experiment_without_effect_is_said(tracking: Any, delivered: Path) -> None:
    for option in (["--experiment-id", "7"], ["--experiment-name", "demo"]):
        done = sync(delivered, "--uri", tracking.uri, *option)
        assert done.returncode == 0
        assert f"the experiment has no effect, since run.json names the MLflow run {FIRST}: --new-run" in done.stderr
    done = sync(delivered, "--uri", tracking.uri, "--experiment-id", "7", "--new-run")
    assert "no effect" not in done.stderr
    assert tracking.runs[SECOND]["info"]["experiment_id"] == "7"
    for variables in ({"MLFLOW_EXPERIMENT_ID": "9"}, {"MLFLOW_EXPERIMENT_NAME": "demo"}):
        assert (
            f"since run.json names the MLflow run {SECOND}"
            in sync(delivered, "--uri", tracking.uri, **variables).stderr
        )
    asked = sync(delivered, "--uri", tracking.uri, "--run-id", SECOND, "--experiment-id", "7")
    assert f"since the MLflow run {SECOND} was asked for" in asked.stderr


def test_an_experiment_may_be_named(tracking: Any, run_dir: Path) -> None:
    log(run_dir, 0.5)
    assert sync(run_dir, "--uri", tracking.uri, MLFLOW_EXPERIMENT_NAME="größe 1").returncode == 0
    assert list(tracking.experiments) == ["größe 1"]
    assert tracking.runs[FIRST]["info"]["experiment_id"] == tracking.experiments["größe 1"]
    assert sync(run_dir, "--uri", tracking.uri, "--new-run", "--experiment-name", "größe 1").returncode == 0
    assert len(tracking.experiments) == 1
    assert tracking.runs[SECOND]["info"]["experiment_id"] == tracking.experiments["größe 1"]


def test_a_run_is_exported_into_the_experiment_that_is_named(
    tracking: Any, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "demo")
    log(run_dir, 0.5, mlflow_tracking_uri=tracking.uri)
    assert tracking.runs[FIRST]["info"]["experiment_id"] == tracking.experiments["demo"]


def test_one_run_for_several_directories_is_wrong_however_it_was_named(tracking: Any, tmp_path: Path) -> None:
    for name in "ab":
        log(tmp_path / name, 0.5)
    done = sync(tmp_path / "a", tmp_path / "b", "--uri", tracking.uri, CODEX_OBS_MLFLOW_RUN_ID=FIRST)
    assert (done.returncode, done.stdout) == (2, "")
    assert "CODEX_OBS_MLFLOW_RUN_ID" in done.stderr
    assert tracking.calls == []


def test_a_folder_that_is_no_run_holds_up_no_other(tracking: Any, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    log(tmp_path / "b", 0.5)
    done = sync(tmp_path / "a", tmp_path / "b", "--uri", tracking.uri)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "a is not a run directory" in done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'b'}: 1 point delivered")


def test_what_a_new_run_has_begun_goes_on_without_asking_for_another(tracking: Any, delivered: Path) -> None:
    tracking.refused_metric, tracking.refused_status = "train/loss", 503
    done = sync(delivered, "--uri", tracking.uri, "--new-run", "--patience", "0.5")
    assert done.returncode == 1
    assert named_in(delivered, tracking) == SECOND
    assert "the same command without --new-run resumes it" in done.stderr
