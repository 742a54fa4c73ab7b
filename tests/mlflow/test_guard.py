"""The guard of MLflow's own client, with the current MLflow: where that writes, and whom it looks up."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rig.server import python_of_the_server
from rig.store import Worker
from rig.trainer import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.mlflow
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "mlflow_offline.py"
LOCAL = ["", "mlruns", "./a b/c", "file:rel", "file:./rel2", "file:/{here}/one", "FILE:///{here}/two", "old"]
ELSEWHERE = [
    "http://127.0.0.1:9",
    "databricks",
    "uc",
    "postgresql://u:p@h/d",
    "s3://b/x",
    "file://host/x",
    "localhost:1",
]
# Every request in turn, in one process: where does MLflow's own client write after the guard was asked?
TABLE = """
import json, os, sys
import mlflow
from codex_obs import mlflow_guard

# In the usual one, artifacts/mlruns, MLflow finds no run: the guard says so.
os.environ["CODEX_MLFLOW_LOCAL_DIR"] = "usual/mlruns"
# An old folder that MLflow cannot use as it is.
os.makedirs("old", exist_ok=True)
looked_up = []
sys.addaudithook(lambda event, arguments: looked_up.append(event) if event == "socket.getaddrinfo" else None)
for request in {requests!r}:
    mlflow_guard.ensure_file_backend(request or None)
    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.5)
    print(json.dumps([request, mlflow.get_tracking_uri(), client.get_experiment("0").name, run.info.artifact_uri]))
os.environ["MLFLOW_ALLOW_REMOTE"] = "1"
for request in {remote!r}:
    mlflow_guard.ensure_file_backend(request)
    print(json.dumps([request, mlflow.get_tracking_uri(), "", ""]))
print(json.dumps(looked_up))
"""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker(tmp_path_factory.mktemp("guard"))
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def found(worker: Worker) -> list[Any]:
    here = str(worker.folder).lstrip("/")
    requests = [text.replace("{here}", here) for text in LOCAL]
    printed = worker.program(TABLE.format(requests=requests + ELSEWHERE, remote=ELSEWHERE))
    return [json.loads(line) for line in printed.splitlines() if line.startswith("[")]


def test_mlflow_s_client_writes_to_this_machine_whatever_is_asked_for(worker: Worker, found: list[Any]) -> None:
    default = f"file://{worker.folder}/usual/mlruns"
    names = ("mlruns", "a%20b/c", "rel", "rel2", "one", "two", "old")
    expected = [default, *(f"file://{worker.folder}/{name}" for name in names)]
    rows = found[: len(LOCAL) + len(ELSEWHERE)]
    assert [row[1] for row in rows] == [*expected, *[default] * len(ELSEWHERE)]
    for request, uri, experiment, artifacts in rows:
        assert experiment == "Default", request
        assert artifacts.startswith(uri), request


def test_where_it_is_allowed_mlflow_s_client_has_what_was_asked_for(found: list[Any]) -> None:
    assert [row[1] for row in found[len(LOCAL) + len(ELSEWHERE) : -1]] == ELSEWHERE


def test_no_name_is_looked_up(found: list[Any]) -> None:
    assert found[-1] == []


def test_a_new_folder_gets_a_database_and_one_with_files_keeps_them(worker: Worker) -> None:
    program = """
import json, os
from codex_obs import mlflow_guard
before = os.environ.get("MLFLOW_EXPERIMENT_ID")
decided = [mlflow_guard.bootstrap_offline_tracking("new"), mlflow_guard.bootstrap_offline_tracking("new")]
mlflow_guard.ensure_file_backend("files")
decided.append(mlflow_guard.bootstrap_offline_tracking("files", experiment="mine"))
import mlflow
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 0.5)
assert os.environ.get("MLFLOW_EXPERIMENT_ID") == before
print(json.dumps([one.effective_uri for one in decided] + [run.info.artifact_uri]))
"""
    *uris, artifacts = json.loads(worker.program(program).splitlines()[-1])
    database = f"sqlite:///{worker.folder}/new/mlflow.db"
    assert uris == [database, database, f"file://{worker.folder}/files"]
    assert artifacts.startswith(f"{uris[2]}/")
    assert worker.runs(database, "codex") == []
    (run,) = worker.runs(uris[2], "mine")
    assert [point[:2] for point in run["points"]] == [["loss", "0.5"]]


def test_the_example_checks_itself(worker: Worker) -> None:
    program = (
        f"import runpy, sys; sys.argv = ['x', '--output', 'out']; runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"
    )
    assert f"20 steps are in sqlite:///{worker.folder}/out/mlruns/mlflow.db" in worker.program(program)


@pytest.mark.big
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_no_process_of_the_example_asks_a_name_server(tmp_path: Path) -> None:
    program = (
        f"import runpy, site, sys; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        f"sys.argv = ['x', '--output', 'out']; runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')\n"
    )
    trace = tmp_path / "trace"
    command = [
        "strace",
        "-f",
        "-qq",
        "-e",
        "trace=connect,sendto,sendmmsg",
        "-o",
        trace,
        python_of_the_server(),
        "-c",
        program,
    ]
    subprocess.run([str(word) for word in command], check=True, cwd=tmp_path, env=environment(), timeout=600)
    asked = [line for line in trace.read_text().splitlines() if "AF_INET" in line]
    assert asked == []
