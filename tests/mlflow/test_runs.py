"""The remote run: made once, named, tagged, given its parameters, and ended as the local one ended."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from faults.tally import wait_until
from rig.case import lines_of, remote_runs, stored_points
from rig.comparison import NONE, differences, expected_points
from rig.proxy import Proxy
from rig.trainer import start, sync, train

if TYPE_CHECKING:
    from pathlib import Path

    from rig.rest import Client
    from rig.server import Server

pytestmark = pytest.mark.mlflow


def only_run(server: Server, run_dir: Path) -> dict[str, Any]:
    (run,) = remote_runs(server.port, run_dir)
    return run


def params_of(run: dict[str, Any]) -> dict[str, str]:
    return {item["key"]: item["value"] for item in run["data"].get("params", [])}


def tags_of(run: dict[str, Any]) -> dict[str, str]:
    return {item["key"]: item["value"] for item in run["data"].get("tags", [])}


# How a program ends, its exit status, and what MLflow says of the run then.
ENDINGS = {
    "return": (0, "FINISHED"),
    "with": (0, "FINISHED"),
    "forgotten": (0, "FINISHED"),
    "exception": (1, "FAILED"),
    "finish failed": (0, "FAILED"),
    "exit": (3, "KILLED"),
    "interrupt": (-2, "KILLED"),
    "handler": (3, "KILLED"),
}


@pytest.mark.parametrize("manner", ENDINGS)
def test_the_remote_run_ends_as_the_program_did(manner: str, server: Server, run_dir: Path) -> None:
    status, remote = ENDINGS[manner]
    options = {"mlflow_tracking_uri": server.uri}
    process = start("ender", {"directory": str(run_dir), "manner": manner, "options": options})
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status, errors
    run = only_run(server, run_dir)
    assert run["info"]["status"] == remote
    assert differences_of(server, run_dir) == NONE
    assert run["info"]["end_time"] >= run["info"]["start_time"] > 0


def differences_of(server: Server, run_dir: Path) -> dict[str, int]:
    return differences(stored_points(server.port, run_dir), expected_points(run_dir))


def test_a_silent_death_is_told_by_sync(server: Server, run_dir: Path) -> None:
    die_silently(server, run_dir)
    sync(run_dir, "--to", "mlflow", "--uri", server.uri)
    assert only_run(server, run_dir)["info"]["status"] == "KILLED"
    assert differences_of(server, run_dir) == NONE


def test_after_a_silent_death_the_next_session_goes_on_in_the_same_remote_run(server: Server, run_dir: Path) -> None:
    die_silently(server, run_dir)
    report = train({"directory": str(run_dir), "metrics": ["loss"], "options": {"mlflow_tracking_uri": server.uri}})
    assert report["closed"]
    assert only_run(server, run_dir)["info"]["status"] == "FINISHED"
    assert differences_of(server, run_dir) == NONE


def test_a_run_that_goes_on_has_no_end(server: Server, run_dir: Path) -> None:
    def ends() -> tuple[str, bool]:
        info = only_run(server, run_dir)["info"]
        return info["status"], "end_time" in info

    seen = []
    for _ in range(2):
        with codex_obs.init(run_dir, mlflow_tracking_uri=server.uri) as run:
            run.log({"loss": 1.0})
            wait_until(lambda: run.stats()["metrics_exported"] == 1, 60.0, "the value")
            seen.append(ends())
            assert run.close(60.0)
        seen.append(ends())
    assert seen == [("RUNNING", False), ("FINISHED", True)] * 2


def test_a_run_that_ends_in_another_way_later_has_that_end(server: Server, run_dir: Path) -> None:
    for settings in (codex_obs.Settings(mlflow_tracking_uri=server.uri), codex_obs.Settings()):
        run = codex_obs.init(run_dir, settings=settings)
        run.log({"loss": 1.0})
        assert run.finish("finished" if settings.mlflow_tracking_uri else "failed", timeout=60.0)
    with Proxy(server.port) as proxy:
        sync(run_dir, "--uri", server.uri)
        assert "run marked failed" in sync(run_dir, "--uri", proxy.uri)
    assert only_run(server, run_dir)["info"]["status"] == "FAILED"


def die_silently(server: Server, run_dir: Path) -> None:
    options = {"mlflow_tracking_uri": server.uri}
    process = start("ender", {"directory": str(run_dir), "manner": "kill", "options": options})
    process.communicate(timeout=120)
    assert process.returncode == -9


def test_name_tags_and_parameters_arrive(server: Server, client: Client, run_dir: Path) -> None:
    config = {
        "lr": 3e-4,
        "model": {"layers": 4, "name": "größe"},
        "long": "x" * 7000,
        **{f"p{n}": n for n in range(250)},
    }
    settings = codex_obs.Settings(mlflow_tracking_uri=server.uri)
    with codex_obs.init(run_dir, name="a name", config=config, tags={"team": "vision"}, settings=settings) as run:
        run.log({"loss": 1.0})
        run.log_params({"later": 1})
        assert run.close(60.0)
    remote = client.run(only_run(server, run_dir)["info"]["run_id"])
    params, tags = params_of(remote), tags_of(remote)
    assert remote["info"]["run_name"] == "a name"
    assert tags["team"] == "vision"
    assert tags["codex_obs.run_id"] == run.run_id
    assert float(params["lr"]) == 3e-4
    assert (params["model/layers"], params["model/name"]) == ("4", "größe")
    assert {f"p{n}": str(n) for n in range(250)}.items() <= params.items()
    assert params["later"] == "1"
    assert params.get("long", "x" * 6000)[:5000] == "x" * 5000


def test_a_parameter_that_changes_on_resume_is_reported_and_never_sent_again(server: Server, run_dir: Path) -> None:
    with Proxy(server.port) as proxy:
        for rate in (1, 2):
            with codex_obs.init(run_dir, config={"lr": rate, "same": 0}, mlflow_tracking_uri=proxy.uri) as run:
                run.log({"loss": 1.0})
                assert run.close(60.0)
        sent = [param for request in proxy.calls() for param in request.json().get("params", [])]
    assert [param["value"] for param in sent if param["key"] == "lr"] == ["1"]
    assert [param["value"] for param in sent if param["key"] == "same"] == ["0"]
    assert params_of(only_run(server, run_dir))["lr"] == "1"
    assert run.stats()["params_changed"] == 1
    local = lines_of(run_dir, "params.ndjson")
    assert [line["config"]["lr"] for line in local] == [1, 2]
    assert differences_of(server, run_dir) == NONE


def test_a_run_goes_into_the_experiment_that_is_asked_for(server: Server, client: Client, run_dir: Path) -> None:
    experiment = client.create_experiment(f"experiment {run_dir}")
    options = {"mlflow_tracking_uri": server.uri, "mlflow_experiment_id": experiment}
    train({"directory": str(run_dir), "metrics": ["loss"], "options": options})
    run_id = json.loads((run_dir / "run.json").read_text())["run_id"]
    assert remote_runs(server.port, run_dir) == []
    assert client.the_run_of(run_id, experiment)["info"]["status"] == "FINISHED"


def test_an_experiment_that_does_not_exist_turns_the_export_off_and_nothing_else(server: Server, run_dir: Path) -> None:
    options = {"mlflow_tracking_uri": server.uri, "mlflow_experiment_id": "999999"}
    report = train({"directory": str(run_dir), "metrics": ["loss"], "options": options, "close_s": 5.0})
    assert report["closed"]
    assert report["stats"]["rows_written"] == 10
    summary = [line for line in lines_of(run_dir, "tracking_summary.ndjson") if line["component"] == "mlflow"]
    assert summary[-1]["status"] in {"disabled", "degraded"}
    assert "999999" in summary[-1]["reason"]
    assert remote_runs(server.port, run_dir) == []


def test_a_run_that_exists_takes_the_metrics(server: Server, client: Client, run_dir: Path) -> None:
    remote = client.create_run()
    options = {"mlflow_tracking_uri": server.uri, "mlflow_run_id": remote}
    train({"directory": str(run_dir), "metrics": ["loss"], "options": options})
    assert differences(client.points(remote), expected_points(run_dir)) == NONE
    assert client.run(remote)["info"]["status"] == "FINISHED"


@pytest.mark.parametrize("fate", ["deleted", "unknown"])
def test_a_run_that_is_gone_stops_the_exporter_with_the_remedy(
    fate: str, server: Server, client: Client, run_dir: Path
) -> None:
    remote = client.create_run()
    if fate == "deleted":
        client.post("runs/delete", {"run_id": remote})
    else:
        remote = "0" * 32
    with Proxy(server.port) as proxy:
        options = {"mlflow_tracking_uri": proxy.uri, "mlflow_run_id": remote}
        report = train({"directory": str(run_dir), "metrics": ["loss"], "options": options, "close_s": 5.0})
        assert len(proxy.requests) < 10
    assert report["closed"]
    summary = [line for line in lines_of(run_dir, "tracking_summary.ndjson") if line["component"] == "mlflow"]
    assert summary[-1]["status"] == "disabled"
    assert re.match(f"mlflow:the run {remote} is (deleted|unknown) at ", summary[-1]["reason"])


@pytest.mark.parametrize("ranks", ["main", "all"])
def test_ranks_share_one_remote_run(ranks: str, server: Server, run_dir: Path) -> None:
    reports = []
    for rank in (0, 1, 2):
        options = {"mlflow_tracking_uri": server.uri, "export_ranks": ranks, "rank": rank}
        reports.append(train({"directory": str(run_dir), "metrics": ["loss"], "options": options}))
    everything = {"main": "", "rank-1": "rank-1/", "rank-2": "rank-2/"}
    expected = expected_points(run_dir, everything if ranks == "all" else None)
    assert differences(stored_points(server.port, run_dir), expected) == NONE
    assert expected.height == (30 if ranks == "all" else 10)
    assert [report["stats"]["metrics_exported"] for report in reports] == [10] + [10 * (ranks == "all")] * 2


def test_events_arrive_by_the_category_of_their_trainer(server: Server, run_dir: Path) -> None:
    with codex_obs.init(run_dir, mlflow_tracking_uri=server.uri) as run:
        run.event("TRAIN", "an update", timesteps=128, loss=0.5, note="text", done=True)
        run.event("act", policy_version=3, reward=1)
        run.event("EVALUATOR", step=4, score=2.5)
        run.event("other", update=5, x=0.0)
        run.event("TRAINER", "without a step", loss=9.0)
        assert run.close(60.0)
    stored = stored_points(server.port, run_dir).select("key", "step", "value").sort("key").rows()
    assert stored == [
        ("actor/reward", 3, 1.0),
        ("evaluator/score", 4, 2.5),
        ("misc/x", 5, 0.0),
        ("trainer/loss", 128, 0.5),
    ]
