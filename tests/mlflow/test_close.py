"""What an exporter may cost: a deadline at the end, nothing at the start, nothing at all without a destination."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import codex_obs
from faults.tally import wait_until
from rig.case import lines_of
from rig.catalogue import fault_named
from rig.proxy import Misbehaviour, Proxy
from rig.stub import Stub
from rig.trainer import environment, report_of, start, sync, train

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rig.rest import Client
    from rig.server import Server

# A server that is gone, one that never accepts, one that accepts and says nothing, one that only ever says 503.
DEAD = ["connection refused, for ever", "connection never accepted", "silence, for ever", "503, for ever"]
CLOSE_S = 2.0
SENDER = "codex-obs-send"
# Far from the promise, which no busy machine can be held to, and far from a hang.
WATCHDOG_S = 30.0


@pytest.fixture
def dead(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """Give a proxy whose server is dead in some way."""
    misbehaviour = fault_named(request.param).misbehaviour
    everywhere = Misbehaviour(misbehaviour.on_request, start=misbehaviour.start, endpoint="")
    with Stub() as server, Proxy(server.port, everywhere) as proxy:
        yield proxy


@pytest.mark.parametrize("dead", DEAD, indirect=True)
def test_close_returns_though_the_server_is_dead(dead: Proxy, run_dir: Path) -> None:
    told = {"directory": str(run_dir), "metrics": ["loss"], "close_s": CLOSE_S}
    report = train(told | {"options": {"mlflow_tracking_uri": dead.uri}})
    assert report["closed"]
    assert report["stats"]["rows_written"] == 10
    assert report["close_s"] < WATCHDOG_S
    assert "codex-ndjson sync" in report["errors"]


@pytest.mark.parametrize("dead", ["connection refused, for ever", "silence, for ever"], indirect=True)
@pytest.mark.parametrize("manner", ["forgotten", "exception", "interrupt", "kill"])
def test_a_program_ends_though_the_server_is_dead(dead: Proxy, run_dir: Path, manner: str) -> None:
    told = {"directory": str(run_dir), "manner": manner, "options": {"mlflow_tracking_uri": dead.uri}}
    process = start("ender", told)
    process.communicate(timeout=WATCHDOG_S)
    assert process.returncode == {"forgotten": 0, "exception": 1, "interrupt": -2, "kill": -9}[manner]
    assert codex_obs.read(run_dir).height == 5


@pytest.mark.parametrize("dead", ["silence, for ever"], indirect=True)
def test_a_deadline_of_nothing_is_kept(dead: Proxy, run_dir: Path) -> None:
    run = codex_obs.init(run_dir, mlflow_tracking_uri=dead.uri)
    run.log({"loss": 1.0})
    wait_until(lambda: bool(dead.requests), WATCHDOG_S, "a request")
    run.close(0.0)
    assert codex_obs.read(run_dir).height == 1


def test_threads_exist_only_for_a_destination(run_dir: Path) -> None:
    program = """
import sys, os, time, codex_obs
run = codex_obs.init(sys.argv[1])
run.log({"loss": 1.0})
run.flush()
deadline = time.monotonic() + 30
while True:
    names = sorted(open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task"))
    # A thread that has just begun still has its maker's name.
    if len([name for name in names if not name.startswith("codex-obs")]) == 1 or time.monotonic() > deadline:
        break
print(*names)
"""
    with Stub() as server:
        names = [threads(program, run_dir / str(number), uri) for number, uri in enumerate(["", server_uri(server)])]
        # A variable that other tools set starts nothing.
        names.append(threads(program, run_dir / "2", "", MLFLOW_TRACKING_URI=server_uri(server)))
    # Other threads of ours come and go.
    assert [SENDER in each for each in names] == [False, True, False]


def threads(program: str, run_dir: Path, uri: str, **variables: str) -> list[str]:
    if uri:
        variables["CODEX_OBS_MLFLOW_TRACKING_URI"] = uri
    command = [sys.executable, "-c", program, str(run_dir)]
    done = subprocess.run(command, env=environment(**variables), capture_output=True, text=True, check=True)
    return done.stdout.split()


def server_uri(server: Stub) -> str:
    return f"http://127.0.0.1:{server.port}"


def test_mlflow_s_own_variable_alone_starts_no_traffic(run_dir: Path) -> None:
    with Stub() as server:
        told = {"directory": str(run_dir), "metrics": ["loss"]}
        report_of(start("trainer", told, MLFLOW_TRACKING_URI=server_uri(server)))
        assert server.requests == []
    assert [line for line in lines_of(run_dir, "tracking_summary*") if line["component"] == "mlflow"] == []
    assert not list(run_dir.rglob("*export*"))


@pytest.mark.mlflow
@pytest.mark.parametrize("meant", ["run", "experiment"])
def test_the_command_that_close_names_delivers_to_what_was_meant(
    meant: str, server: Server, client: Client, run_dir: Path
) -> None:
    experiment = client.create_experiment(f"meant by {run_dir}")
    remote = client.create_run()
    option = {"mlflow_run_id": remote} if meant == "run" else {"mlflow_experiment_id": experiment}
    with Proxy(server.port, Misbehaviour(start="refusing")) as proxy:
        told = {"directory": str(run_dir), "metrics": ["loss"], "close_s": 0.5}
        report = train(told | {"options": {"mlflow_tracking_uri": proxy.uri} | option})
        proxy.heal()
        (command,) = re.findall(r"`(codex-ndjson sync .*?)`", report["errors"])
        sync(*shlex.split(command)[2:], MLFLOW_EXPERIMENT_ID="0", CODEX_OBS_MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    if meant == "experiment":
        run_id = json.loads((run_dir / "run.json").read_text())["run_id"]
        remote = client.the_run_of(run_id, experiment)["info"]["run_id"]
    assert client.points(remote).height == 10
    assert client.run(remote)["info"]["status"] == "FINISHED"
