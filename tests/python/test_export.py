"""Export to MLflow as Python sees it: switched on by an address, told how the run ended, silent about secrets."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from codex_obs import _backend, _export
from codex_obs.testing import read_rows

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = "http://127.0.0.1:9"  # the discard port, where nothing listens
CANARY = "canary-f3b1"


def status_of(tracking: Any) -> list[str]:
    return [run["info"].get("status") for run in tracking.runs.values()]


def component(run_dir: Path, name: str = "mlflow") -> list[dict[str, Any]]:
    return [line for line in read_rows(run_dir, "tracking_summary") if line["component"] == name]


def test_metrics_parameters_and_tags_arrive_and_the_run_is_finished(tracking: Any, run_dir: Path) -> None:
    options = codex_obs.Settings(mlflow_tracking_uri=tracking.uri, mlflow_experiment_id="7")
    with codex_obs.init(run_dir, name="first", config={"lr": 0.1}, tags={"team": "x"}, settings=options) as run:
        run.log({"loss": 0.5, "acc": float("nan")}, step=1)
        run.log({"loss": 0.25}, step=2, split="eval")
        run.event("TRAINER", "words", timesteps=3, reward=1)
        run.event("TRAINER", "words", reward=2)
    (remote,) = tracking.runs.values()
    assert remote["info"]["experiment_id"] == "7"
    assert (remote["info"]["name"], remote["info"]["status"]) == ("first", "FINISHED")
    assert tracking.points() == [
        ("train/loss", 0.5, 1), ("train/acc", "NaN", 1), ("eval/loss", 0.25, 2), ("trainer/reward", 1.0, 3),
    ]  # fmt: skip
    assert {"key": "lr", "value": "0.1"} in remote["data"]["params"]
    assert {"key": "team", "value": "x"} in remote["data"]["tags"]
    assert run.stats()["metrics_exported"] == 4
    assert json.loads((run_dir / "run.json").read_text())["run_id"] == run.run_id
    assert remote["info"]["run_id"] in (run_dir / "run.json").read_text()
    assert [line["status"] for line in component(run_dir)] == ["enabled", "disabled"]


def test_the_environment_switches_it_on_too(tracking: Any, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_OBS_MLFLOW_TRACKING_URI", tracking.uri)
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 0.5})
    assert tracking.points() == [("train/loss", 0.5, 0)]


def test_mlflow_s_own_variable_and_no_address_switch_nothing_on(
    tracking: Any, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
    with codex_obs.init(run_dir, mlflow_tracking_uri="") as run:
        run.log({"loss": 0.5})
    assert tracking.calls == []
    assert component(run_dir) == []


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError(), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(1), "KILLED")]
)
def test_an_exception_makes_the_remote_run_failed_or_killed(
    error: BaseException, status: str, tracking: Any, run_dir: Path
) -> None:
    def train() -> None:
        with codex_obs.init(run_dir, mlflow_tracking_uri=tracking.uri) as run:
            run.log({"loss": 0.5})
            raise error

    with pytest.raises(type(error)):
        train()
    assert (status_of(tracking), tracking.points()) == ([status], [("train/loss", 0.5, 0)])


@pytest.mark.parametrize(
    ("end", "status"),
    [("", "FINISHED"), ("raise ValueError", "FAILED"), ("run.finish('failed')", "FAILED"), ("sys.exit(0)", "FINISHED")],
)
def test_a_program_that_ends_without_closing_says_how(end: str, status: str, tracking: Any, run_dir: Path) -> None:
    program = f"import sys, codex_obs\nrun = codex_obs.init(sys.argv[1])\nrun.log({{'loss': 0.5}})\n{end}\n"
    subprocess.run(
        [sys.executable, "-c", program, str(run_dir)],
        env={**os.environ, "CODEX_OBS_MLFLOW_TRACKING_URI": tracking.uri},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (status_of(tracking), tracking.points()) == ([status], [("train/loss", 0.5, 0)])


def test_a_run_that_goes_on_goes_on_there(tracking: Any, run_dir: Path) -> None:
    for _ in range(2):
        with codex_obs.init(run_dir, mlflow_tracking_uri=tracking.uri) as run:
            run.log({"loss": 0.5})
    assert tracking.points() == [("train/loss", 0.5, 0), ("train/loss", 0.5, 1)]
    assert [method for method, _ in tracking.calls].count("runs/create") == 1


def test_a_thousand_names_that_are_changed_are_one_warning_and_all_on_record(
    tracking: Any, run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with codex_obs.init(run_dir, mlflow_tracking_uri=tracking.uri) as run:
        run.log({f"acc@{number}": number for number in range(1000)}, step=1)
        assert run.close(60)
    (warning,) = [record.getMessage() for record in caplog.records if "changed for MLflow" in record.getMessage()]
    assert '"train/acc@2" is "train/acc_2-' in warning
    assert f"997 others are in {run_dir / 'export_names.ndjson'}" in warning
    changed = {line["remote_name"]: line["name"] for line in read_rows(run_dir, "export_names")}
    assert {name for name, *_ in tracking.points()} == set(changed)
    assert set(changed.values()) == {f"train/acc@{number}" for number in range(1000)}


def test_a_named_run_is_taken(tracking: Any, run_dir: Path) -> None:
    created = tracking.answer("runs/create", {"experiment_id": "0", "tags": []})
    remote = created["run"]["info"]["run_id"]
    with codex_obs.init(run_dir, mlflow_tracking_uri=tracking.uri, mlflow_run_id=remote) as run:
        run.log({"loss": 0.5})
    assert list(tracking.runs) == [remote]
    assert tracking.points() == [("train/loss", 0.5, 0)]


@pytest.mark.parametrize(("ranks", "names"), [("main", set()), ("all", {"rank-1/train/loss"})])
def test_other_ranks_are_exported_only_when_all_are(ranks: Any, names: set[str], tracking: Any, run_dir: Path) -> None:
    with codex_obs.init(run_dir, mlflow_tracking_uri=tracking.uri, export_ranks=ranks, rank=0) as run:
        run.log({"loss": 0.5})
    with codex_obs.init(run_dir, mlflow_tracking_uri=tracking.uri, export_ranks=ranks, rank=1) as run:
        run.log({"loss": 0.25})
    assert {name for name, *_ in tracking.points()} == {"train/loss"} | names


def test_init_does_not_wait_for_a_server_and_close_says_what_is_left(
    run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = codex_obs.init(run_dir, mlflow_tracking_uri=NOBODY, export_interval_s=0.0)
    run.log({"loss": 0.5, "acc": 0.25})
    assert run.flush(30)
    with caplog.at_level(logging.WARNING, "codex_obs"):
        assert run.close(1.0)
    assert f"`codex-ndjson sync {run_dir} --to mlflow --uri {NOBODY} --experiment-id 0`" in caplog.text
    assert "2 rows" in caplog.text
    assert run.stats()["metrics_exported"] == 0
    assert {line["status"] for line in component(run_dir)} <= {"degraded", "disabled"}


def test_what_was_left_is_delivered_by_the_next_session(tracking: Any, run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 0.5})
    with codex_obs.init(run_dir, mlflow_tracking_uri=tracking.uri) as run:
        run.log({"loss": 0.25})
    assert tracking.points() == [("train/loss", 0.5, 0), ("train/loss", 0.25, 1)]


@pytest.mark.parametrize(
    "uri", ["http://host:notaport", "http://host?query=1", "http://:5000", "https://u:" + CANARY + "@ho st"]
)
def test_an_address_that_cannot_be_used_is_an_error_at_init(uri: str, run_dir: Path) -> None:
    with pytest.raises(codex_obs.SettingError, match="mlflow_tracking_uri") as caught:
        codex_obs.init(run_dir, mlflow_tracking_uri=uri)
    assert CANARY not in str(caught.value)
    assert not list(run_dir.glob("metrics*"))


def test_a_certificate_that_is_not_there_is_an_error_at_init(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(run_dir / "missing.pem"))
    with pytest.raises(codex_obs.CodexObsError, match=r"missing\.pem"):
        codex_obs.init(run_dir, mlflow_tracking_uri="https://127.0.0.1:9")


def test_a_password_shows_nowhere(tracking: Any, run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracking.refusal = (503, f"no, {CANARY} may not")
    uri = tracking.uri.replace("http://", f"http://user:{CANARY}@")
    with caplog.at_level(logging.DEBUG):
        run = codex_obs.init(run_dir, mlflow_tracking_uri=uri, export_interval_s=0.0)
        run.log({"loss": 0.5})
        tracking.wait(lambda: tracking.calls)
        run.close(1.0)
    export = _export.mlflow(run.settings)
    shown = [repr(run), repr(run.settings), str(run.settings), repr(export), str(export), caplog.text]
    pickled = pickle.dumps(run) + pickle.dumps(run.settings)
    files = b"".join(path.read_bytes() for path in run_dir.rglob("*") if path.is_file())
    assert "Basic " in tracking.headers[0]
    assert CANARY not in "".join(shown)
    assert CANARY.encode() not in pickled + files


def test_a_token_shows_nowhere_and_arrives(
    tracking: Any, run_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", CANARY)
    with caplog.at_level(logging.DEBUG), codex_obs.init(run_dir, mlflow_tracking_uri=tracking.uri) as run:
        run.log({"loss": 0.5})
    assert all(f"Bearer {CANARY}" in headers for headers in tracking.headers)
    files = b"".join(path.read_bytes() for path in run_dir.rglob("*") if path.is_file())
    assert CANARY.encode() not in files + pickle.dumps(run)
    assert CANARY not in caplog.text + repr(run) + repr(run.settings)


def test_a_forked_child_sends_nothing_of_its_parent_s(tracking: Any, run_dir: Path) -> None:
    run = codex_obs.init(run_dir, mlflow_tracking_uri=tracking.uri, export_interval_s=0.0)
    run.log({"loss": 0.5})
    tracking.wait(tracking.points)
    child = os.fork()
    if child == 0:
        run.log({"loss": 0.125})
        run.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    run.log({"loss": 0.25})
    run.close()
    assert [value for _, value, _ in tracking.points()] == [0.5, 0.25]
    assert {row["value"] for row in read_rows(run_dir)} == {0.125, 0.25, 0.5}


def test_the_engine_refuses_words_it_does_not_know(run_dir: Path) -> None:
    with pytest.raises(_backend.CoreError, match="export_ranks"):
        _backend.Destination.mlflow(NOBODY, ranks="some")
    run = codex_obs.init(run_dir)
    with pytest.raises(_backend.CoreError, match="status"):
        run._close(1.0, "gone")
