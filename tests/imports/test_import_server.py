"""``codex-obs import`` of runs on a real MLflow server."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import codex_obs
from codex_obs.cli import app
from foreign_runs import HERE, as_logged, finite
from rig.server import Server, python_of_the_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.mlflow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, Any]]]:
    """The address of an experiment, and what MLflow's client says of its runs."""
    folder = tmp_path_factory.mktemp("served")
    server = Server(folder)
    server.start()
    try:
        command = [str(python_of_the_server()), str(HERE / "write_foreign.py"), "mlflow_server", str(folder)]
        subprocess.run(
            command, check=True, capture_output=True, env={"MLFLOW_TRACKING_URI": server.uri, "HOME": str(folder)}
        )
        runs = json.loads((folder / "expected.json").read_text())["runs"]
        yield f"{server.uri}/#/experiments/{runs['one']['experiment']}", runs
    finally:
        server.stop()


def imported(source: str, dest: Path, *options: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["import", source, "--dest", str(dest), *options])
    assert done.exit_code == code, done.output
    return done.output


def test_an_experiment_becomes_a_folder_of_its_runs(served: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    address, runs = served
    assert "1 deleted run" in imported(address, tmp_path / "all")
    for name, run in runs.items():
        table = codex_obs.runs(tmp_path / "all" / name).row(0, named=True)
        assert (table["run_id"], table["status"], table["config"]) == (run["run_id"], run["status"], run["params"])
        rows = codex_obs.read(tmp_path / "all" / name)
        assert rows.height == sum(map(len, run["metrics"].values()))
        found = rows.filter(split="train", metric="loss").sort("step")
        assert found["value"].to_list() == [finite(as_logged(value)) for *_, value in run["metrics"]["loss"]]
        stamps = (found["timestamp"].dt.epoch("us") / 1e6).to_list()
        assert stamps == [time_s for _, time_s, _ in run["metrics"]["loss"]]


def test_a_run_is_named_by_its_page_or_its_id(served: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    address, runs = served
    run_id = runs["two"]["run_id"]
    imported(f"{address}/runs/{run_id}/model-metrics", tmp_path / "one")
    imported(address.partition("#")[0], tmp_path / "two", "--run", run_id)
    first, second = (codex_obs.summarize(tmp_path / name) for name in ("one", "two"))
    assert first.equals(second)
    said = imported(address.partition("#")[0], tmp_path / "three", "--run", "nonesuch", code=2)
    assert "answered 404: Run with id=nonesuch not found." in said
