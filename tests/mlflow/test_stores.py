"""MLflow's stores on this machine: what `codex-ndjson sync` delivers to them is there once, whatever happens."""

from __future__ import annotations

import math
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

import codex_obs
from faults.tally import wait_until
from rig.case import lines_of
from rig.comparison import NONE, differences, expected_points
from rig.store import DEADLINE_S, Worker, count, points_of, statuses

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.mlflow
LARGEST = 1.7976931348623157e308
KILLS = 3
STEPS = (-(2**63), -1, 0, 2**31, 2**53 + 1, 2**63 - 1)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker(tmp_path_factory.mktemp("stores"))
    yield worker
    worker.close()


@pytest.fixture(params=["sqlite:///{}.db", "file://{}"], ids=["sqlite", "file"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.param).format(tmp_path / "store")


def place_of(uri: str) -> Path:
    return Path(uri.partition("://")[2] if uri.startswith("file") else uri.removeprefix("sqlite:///"))


def has(place: Path, points: int) -> bool:
    return count(place) >= points


def finite(points: pl.DataFrame) -> pl.DataFrame:
    """A database has the largest number in the place of an infinite one; a folder of files has the infinite one."""
    return points.with_columns(pl.col("value").clip(-LARGEST, LARGEST))


def test_every_point_is_there_once_after_kills_a_deleted_cursor_and_a_second_delivery(
    worker: Worker, uri: str, run_dir: Path
) -> None:
    calls = 4000
    with codex_obs.init(run_dir, config={"lr": 3e-4, "net": {"depth": 2}}, tags={"team": "vision"}) as run:
        for step in range(calls):
            odd = (math.nan, math.inf, -math.inf)[step % 3]
            run.log({"loss": step / 8, "acc": step / 3, "odd": odd}, step=step)
    place, everything = place_of(uri), 3 * calls
    for kill in range(1, KILLS + 1):
        enough = kill * everything // (KILLS + 2)
        status, words = worker.command("sync", run_dir, "--uri", uri, kill_when=partial(has, place, enough))
        assert status == -signal.SIGKILL, words
    worker.sync(run_dir, "--uri", uri)
    cursors = list((run_dir / ".codex_obs").glob("export-*"))
    assert cursors
    for cursor in cursors:
        cursor.unlink()
    worker.sync(run_dir, "--uri", uri)
    worker.sync(run_dir, "--uri", uri)

    (found,) = worker.runs(uri)
    assert differences(finite(points_of(found)), expected_points(run_dir)) == NONE
    assert found["status"] == "FINISHED"
    assert found["params"] == {"lr": "0.0003", "net/depth": "2"}
    assert found["tags"]["team"] == "vision"
    assert found["tags"]["codex_obs.run_id"] == run.run_id
    assert Path(found["artifact_uri"].removeprefix("file://")).is_relative_to(place.parent)
    assert lines_of(run_dir, "export_rejected*") == []


def test_odd_names_and_steps_of_64_bits_arrive_in_an_experiment_by_name(
    worker: Worker, uri: str, run_dir: Path
) -> None:
    names = ["a//b", "bad@key", "loss[0]", "x" * 300, "ok/Größe 1"]
    with codex_obs.init(run_dir) as run:
        for number, step in enumerate(STEPS):
            run.log({name: number + index / 8 for index, name in enumerate(names)}, step=step)
        run.finish("failed")
    # A relative path counts from where the command is typed, and a folder needs no scheme.
    typed = "sqlite:///typed.db" if uri.startswith("sqlite") else "./mlruns"
    canonical = f"sqlite:///{worker.folder}/typed.db" if uri.startswith("sqlite") else f"file://{worker.folder}/mlruns"
    worker.sync(run_dir, "--uri", typed, "--experiment-name", "odd ones")
    (found,) = worker.runs(canonical, "odd ones")
    points = points_of(found)
    expected = sorted((number + index / 8, step) for number, step in enumerate(STEPS) for index in range(len(names)))
    assert sorted(points.select("value", "step").iter_rows()) == expected
    assert points["key"].n_unique() == len(names)
    assert "train/ok/Größe 1" in set(points["key"])
    assert found["status"] == "FAILED"
    assert len(lines_of(run_dir, "export_names*")) == len(names) - 1


def test_a_name_that_a_folder_of_files_cannot_hold_costs_no_other_point(
    worker: Worker, run_dir: Path, tmp_path: Path
) -> None:
    long = "ü" * 200
    with codex_obs.init(run_dir) as run:
        for step in range(3):
            run.log({"loss": step, "loss/part": step, "acc": step, long: step}, step=step)
    status, words = worker.command("sync", run_dir, "--uri", tmp_path / "folder")
    assert status == 1
    (found,) = worker.runs(f"file://{tmp_path}/folder")
    assert {(key, step): float(value) for key, value, _, step in found["points"]} == {
        (f"train/{metric}", step): step for metric in ("loss", "acc") for step in range(3)
    }
    assert len(found["points"]) == 6
    rejected = {line["name"]: line["reason"] for line in lines_of(run_dir, "export_rejected*")}
    assert rejected.keys() == {"train/loss/part", f"train/{long}"}, words
    assert "it begins with another name" in rejected["train/loss/part"]
    assert "a SQLite store can" in rejected[f"train/{long}"]


def test_half_a_line_that_a_full_disk_has_left_costs_nothing(worker: Worker, run_dir: Path, tmp_path: Path) -> None:
    uri = f"file://{tmp_path / 'store'}"
    with codex_obs.init(run_dir) as run:
        for step in range(3):
            run.log({"loss": step / 2, "acc": 0.5, "rare": 1.0}, step=step)
    worker.sync(run_dir, "--uri", uri)
    (metrics,) = (tmp_path / "store").glob("*/*/metrics/train")
    for name, torn in {"loss": "179618", "acc": "1796186064000 0.25 7", "rare": "1"}.items():
        with (metrics / name).open("a") as lines:
            lines.write(torn)
    (metrics / "late").touch()
    with codex_obs.init(run_dir, resume="must") as run:
        for step in range(3, 5):
            run.log({"loss": step / 2, "acc": 0.25, "late": 3.0}, step=step)
    worker.sync(run_dir, "--uri", uri)
    (found,) = worker.runs(uri)
    assert differences(points_of(found), expected_points(run_dir)) == NONE
    assert lines_of(run_dir, "export_rejected*") == []


def test_the_demo_delivers_to_a_database_in_its_run_by_a_process_beside_it(worker: Worker) -> None:
    flags = ("--run-name", "mine", "--enable-tensorboard", "--enable-mlflow", "--mlflow-experiment", "digits")
    status, words = worker.command("demo", *flags, "--epochs", 1)
    assert status == 0, words
    run_dir = worker.folder / "runs" / "mine"
    database = run_dir / "mlruns" / "mlflow.db"
    assert "mlflow ui --backend-store-uri sqlite:///" in words
    assert "tensorboard --logdir " in words
    # The process beside it may be at work still, or have given up on a machine that is too busy.
    sync = ("sync", run_dir, "--uri", "sqlite:///<run>/mlruns/mlflow.db", "--experiment-name", "digits")
    wait_until(lambda: worker.command(*sync)[0] == 0, DEADLINE_S, "a delivery of all")
    assert statuses(database) == ["FINISHED"]
    (found,) = worker.runs(f"sqlite:///{database}", "digits")
    assert differences(points_of(found), expected_points(run_dir)) == NONE
    assert found["name"] == "mine"
    assert Path(found["artifact_uri"].removeprefix("file://")).is_relative_to(run_dir)


def test_beside_a_trainer_rows_parameters_and_artifacts_arrive_and_the_end(
    worker: Worker, uri: str, run_dir: Path, tmp_path: Path
) -> None:
    """A process beside the trainer writes the store: none of MLflow is in the trainer's."""
    words = worker.program(f"""
import sys
import codex_obs
with open({str(tmp_path / "model.txt")!r}, "w") as file:
    file.write("weights")
assert not [name for name in sys.modules if name.startswith("codex_obs.destinations.mlflow_store")]
run = codex_obs.init({str(run_dir)!r}, mlflow_tracking_uri={uri!r}, config={{"lr": 0.5}})
for step in range(200):
    run.log({{"loss": step / 8}}, step=step)
run.log_artifact({str(tmp_path / "model.txt")!r}, "models/model.txt")
run.close({DEADLINE_S})
""")
    assert words == ""
    (found,) = worker.runs(uri)
    assert differences(points_of(found), expected_points(run_dir)) == NONE
    assert (found["status"], found["params"]) == ("FINISHED", {"lr": "0.5"})
    artifact = Path(found["artifact_uri"].removeprefix("file://"), "models", "model.txt")
    wait_until(artifact.exists, DEADLINE_S, "the artifact")
    assert artifact.read_text() == "weights"
