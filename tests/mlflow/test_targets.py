"""Which run and experiment of a real server a delivery goes to, and whether the commands in words about it work."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

import pytest

from rig.case import remote_runs
from rig.comparison import NONE, differences, expected_points
from rig.trainer import sync, train, try_sync

if TYPE_CHECKING:
    from pathlib import Path

    from rig.rest import Client
    from rig.server import Server

pytestmark = pytest.mark.mlflow


def named_in(run_dir: Path) -> str:
    """Give the remote run that run.json names."""
    (remote,) = json.loads((run_dir / "run.json").read_text())["destinations"].values()
    return str(remote)


def log(run_dir: Path, **options: object) -> None:
    train({"directory": str(run_dir), "metrics": ["loss"], "options": options})


def test_a_new_run_takes_everything_and_the_old_one_stays_as_it_was(
    server: Server, client: Client, run_dir: Path
) -> None:
    log(run_dir, mlflow_tracking_uri=server.uri)
    old, before = named_in(run_dir), expected_points(run_dir)
    sync(run_dir, "--uri", server.uri, "--new-run")
    new = named_in(run_dir)
    assert new != old
    log(run_dir, mlflow_tracking_uri=server.uri)
    assert differences(client.points(new), expected_points(run_dir)) == NONE
    assert differences(client.points(old), before) == NONE
    assert {run["info"]["run_id"] for run in remote_runs(server.port, run_dir)} == {old, new}


def test_an_experiment_is_made_once_and_found_by_its_name(server: Server, client: Client, tmp_path: Path) -> None:
    name = f"größe & 100% {tmp_path.name}"
    for directory in ("one", "two"):
        log(tmp_path / directory)
        sync(tmp_path / directory, "--uri", server.uri, "--experiment-name", name)
    train({"directory": str(tmp_path / "live"), "metrics": ["loss"], "options": {"mlflow_tracking_uri": server.uri}},
          MLFLOW_EXPERIMENT_NAME=name)  # fmt: skip
    found = client.get("experiments/get-by-name", experiment_name=name)["experiment"]["experiment_id"]
    for directory in ("one", "two", "live"):
        run = client.run(named_in(tmp_path / directory))
        assert run["info"]["experiment_id"] == found
        assert differences(client.points(run["info"]["run_id"]), expected_points(tmp_path / directory)) == NONE


@pytest.mark.parametrize("fate", ["deleted", "unknown"])
def test_the_command_for_a_run_that_is_gone_works_as_it_stands(
    fate: str, server: Server, client: Client, run_dir: Path
) -> None:
    log(run_dir, mlflow_tracking_uri=server.uri)
    old = named_in(run_dir)
    if fate == "deleted":
        client.post("runs/delete", {"run_id": old})
    else:
        document = (run_dir / "run.json").read_text()
        (run_dir / "run.json").write_text(document.replace(old, "0" * 32))
    status, words = try_sync(run_dir, "--uri", server.uri)
    assert status == 1
    (command,) = re.findall("`(codex-ndjson sync [^`]* --new-run)`", words)
    sync(*shlex.split(command)[2:])
    assert named_in(run_dir) not in (old, "0" * 32)
    assert differences(client.points(named_in(run_dir)), expected_points(run_dir)) == NONE


def test_the_run_that_is_named_takes_the_place_of_the_one_before(server: Server, client: Client, run_dir: Path) -> None:
    log(run_dir, mlflow_tracking_uri=server.uri)
    old, other, third = named_in(run_dir), client.create_run(), client.create_run()
    assert f"which takes the place of {old} in run.json" in sync(run_dir, "--uri", server.uri, "--run-id", other)
    assert named_in(run_dir) == other
    client.post("runs/delete", {"run_id": other})
    assert "run.json names the run" in sync(run_dir, "--uri", server.uri, "--run-id", third)
    assert named_in(run_dir) == third
    for remote in (old, third):
        assert differences(client.points(remote), expected_points(run_dir)) == NONE


def test_a_deleted_experiment_is_named_with_what_to_do(server: Server, client: Client, run_dir: Path) -> None:
    log(run_dir)
    name = f"gone {run_dir}"
    experiment = client.create_experiment(name)
    client.post("experiments/delete", {"experiment_id": experiment})
    status, words = try_sync(run_dir, "--uri", server.uri, "--experiment-name", name)
    assert status == 1
    assert f"mlflow experiments restore --experiment-id {experiment}`" in words
    client.post("experiments/restore", {"experiment_id": experiment})
    command, another = re.findall("`(codex-ndjson sync [^`]*)`", words)
    assert another.endswith(" --experiment-id ID")
    sync(*shlex.split(command)[2:])
    assert client.run(named_in(run_dir))["info"]["experiment_id"] == experiment
