"""The first chart of a long run by codex_obs, by TensorBoard's two loaders and by MLflow's server, on the same rows.

The peers are asked for what their pages ask for. They need environments of their own: make peers, make mlflow-server.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import codex_obs
from pages import served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from conftest import Figures

for needed in ("starlette", "uvicorn", "uplot"):
    pytest.importorskip(needed, reason="needs the extra view")

ROOT = Path(__file__).parents[2]
TENSORBOARD = ROOT / ".venv-peers/bin/tensorboard"
MLFLOW = ROOT / ".venv-mlflow/bin/python"
ROWS = int(os.environ.get("VIEW_ROWS", "4000000"))
# MLflow's own store takes some ten thousand rows a second.
MLFLOW_ROWS = min(ROWS, 400_000)
DEADLINE_S = 600
PIXELS = 600
LOG = f"""
import sys
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient
client = MlflowClient(sys.argv[1])
run = client.create_run("0").info.run_id
for first in range(0, {MLFLOW_ROWS}, 1000):
    steps = range(first, first + 1000)
    client.log_batch(run, [Metric("loss", 1 / (step + 1), 1700000000000 + step, step) for step in steps])
print(run)
"""


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("peers") / "run"
    with codex_obs.init(path, tensorboard=TENSORBOARD.exists(), export_timeout_s=DEADLINE_S) as run:
        log = run.bind("loss")
        for step in range(ROWS):
            log(1 / (step + 1), step=step)
    assert codex_obs.summarize(path)["count"].to_list() == [ROWS]
    return path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def process_of(command: Sequence[object], folder: Path) -> Iterator[Callable[[], float]]:
    """Run a server until the block is left, and give what tells its processor seconds."""
    with (folder / "server.log").open("wb") as out:
        process = subprocess.Popen(
            [str(word) for word in command], stdout=out, stderr=out, cwd=folder, start_new_session=True
        )
    seen: dict[int, float] = {}

    def seconds() -> float:
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for one in tree:
            try:
                times = one.cpu_times()
            except psutil.NoSuchProcess:
                continue
            seen[one.pid] = times.user + times.system
        return sum(seen.values())

    try:
        yield seconds
    finally:
        for one in psutil.Process(process.pid).children(recursive=True):
            one.kill()
        process.kill()
        process.wait(DEADLINE_S)


def first_answer(address: str, is_it: Callable[[Any], bool]) -> None:
    """Ask until the answer is what a chart is drawn from."""
    end = time.monotonic() + DEADLINE_S
    while True:
        try:
            with urllib.request.urlopen(address, timeout=DEADLINE_S) as answer:
                if is_it(json.load(answer)):
                    return
        except (OSError, ValueError, urllib.error.HTTPError):
            pass  # it is starting, or has not read so far
        assert time.monotonic() < end, address
        time.sleep(0.02)


def note(figures: Figures, who: str, rows: int, began: float, processor_s: float) -> None:
    wall_s = time.perf_counter() - began
    figures.measures[f"first chart, {who}, s"] = wall_s
    figures.measures[f"first chart, {who}, processor s"] = processor_s
    figures.notes.append(
        f"first chart of {rows:,} rows, {who}: {wall_s:.2f} s from its start, {processor_s:.2f} s of processor"
    )


def test_codex_obs(figures: Figures, logged: Path) -> None:
    began = time.perf_counter()
    with served(logged, cwd=logged.parent) as page:
        (listed,) = page.json("runs")["runs"]
        page.json("names", run=listed["key"])
        status, content = page.get("pixels", run=listed["key"], metric="loss", pixels=PIXELS)
        assert (status, listed["rows"], len(content) > PIXELS) == (200, ROWS, True)
        times = psutil.Process(page.process.pid).cpu_times()
        note(figures, "codex_obs", ROWS, began, times.user + times.system)


@pytest.mark.skipif(not TENSORBOARD.exists(), reason="TensorBoard is not installed: make peers")
@pytest.mark.parametrize("loader", ["true", "false"])
def test_tensorboard(figures: Figures, logged: Path, tmp_path: Path, loader: str) -> None:
    port = free_port()
    options = {"--logdir": logged / "tensorboard", "--host": "127.0.0.1", "--port": str(port), "--load_fast": loader}
    command = [TENSORBOARD, *(word for option in options.items() for word in option)]
    began = time.perf_counter()
    with process_of(command, tmp_path) as processor_s:
        address = f"http://127.0.0.1:{port}/data/plugin/scalars/scalars?tag=train/loss&run=."
        first_answer(address, lambda points: bool(points) and points[-1][1] == ROWS - 1)
        note(figures, f"TensorBoard, {'fast' if loader == 'true' else 'slow'} loader", ROWS, began, processor_s())


@pytest.mark.skipif(not MLFLOW.exists(), reason="MLflow is not installed: make mlflow-server")
def test_mlflow(figures: Figures, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    made = subprocess.run([MLFLOW, "-c", LOG, store], check=True, capture_output=True, text=True, timeout=DEADLINE_S)
    run_id = made.stdout.split()[-1]
    port = free_port()
    command = [MLFLOW, "-m", "mlflow", "server", "--backend-store-uri", store, "--port", str(port), "--workers", "1"]
    began = time.perf_counter()
    with process_of(command, tmp_path) as processor_s:
        path = "ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
        address = f"http://127.0.0.1:{port}/{path}?run_ids={run_id}&metric_key=loss&max_results=320"
        first_answer(address, lambda found: len(found.get("metrics", ())) > 100)
        note(figures, "MLflow's server", MLFLOW_ROWS, began, processor_s())
