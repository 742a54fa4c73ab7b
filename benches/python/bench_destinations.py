"""What files for TensorBoard and W&B cost: processor time a row beside their own writers, and the loop beside ours."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import codex_obs
from codex_obs import _backend, _export
from codex_obs._settings.settings import Settings
from loggers import metrics_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Figures

PEERS = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
WRITERS = Path(__file__).with_name("peer_writers.py")
STEPS = 125_000
PEER_STEPS = 2_000
LEAST_ROWS_A_SECOND = 2e6
WORK_S = 1e-3
ROUNDS = 5
ROUND_STEPS = 3_000
TAIL = 0.999


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a run of a million rows."""
    run_dir = tmp_path_factory.mktemp("logged") / "run"
    metrics = metrics_of(8)
    with codex_obs.init(run_dir) as run:
        for step in range(STEPS):
            run.log(metrics, step=step)
    return run_dir


@pytest.mark.parametrize(
    ("kind", "peers"), [("tensorboard", ("tensorboardX", "tensorboard")), ("wandb", ("wandb",))], ids=str
)
def test_a_row_in_a_file(figures: Figures, logged: Path, tmp_path: Path, kind: str, peers: tuple[str, ...]) -> None:
    destination = {"tensorboard": _export.tensorboard, "wandb": _export.wandb}[kind](Settings())
    before = time.process_time()
    (outcome,) = _backend.sync(str(logged), destination)
    spent = time.process_time() - before
    assert (outcome.done, outcome.delivered) == (True, 8 * STEPS)
    comparison = f"processor time of a row for {kind}"
    figures.add(comparison, "codex_obs", spent / outcome.delivered)
    figures.compare(comparison, "2 M rows a second", [1 / LEAST_ROWS_A_SECOND])
    figures.allow(comparison, "2 M rows a second", 1.0)
    if not PEERS.exists():
        figures.notes.append("TensorBoard's and W&B's own writers: not installed (make peers)")
        return
    for peer in peers:
        done = subprocess.run(
            [PEERS, WRITERS, peer, tmp_path / peer, str(PEER_STEPS)], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        assert found["bytes"] > found["rows"]
        figures.compare(comparison, peer, [found["cpu_s"] / found["rows"]])


def spin(until_s: float) -> None:
    while time.perf_counter() < until_s:
        pass


def iterations(log: Callable[..., None]) -> list[float]:
    """Give the seconds of each iteration of a loop of a millisecond a step."""
    metrics, clock, seconds = metrics_of(8), time.perf_counter, []
    for _ in range(ROUND_STEPS):
        began = clock()
        spin(began + WORK_S)
        log(metrics)
        seconds.append(clock() - began)
    return sorted(seconds)


def test_a_loop_of_a_millisecond_with_both_files(figures: Figures, tmp_path: Path) -> None:
    with (
        codex_obs.init(tmp_path / "none") as without,
        codex_obs.init(tmp_path / "both", tensorboard=True, wandb="offline") as both,
    ):
        found: dict[str, list[list[float]]] = {"codex_obs": [], "without files": []}
        for _ in range(ROUNDS):
            found["without files"].append(iterations(without.log))
            found["codex_obs"].append(iterations(both.log))
    assert (tmp_path / "both" / "tensorboard").exists()
    for what, place, budget in (("median", 0.5, 1.02), ("99.9 %", TAIL, 1.5)):
        comparison = f"loop of 1 ms with both files, {what}"
        for subject, rounds in found.items():
            of_rounds = [seconds[int(place * len(seconds))] for seconds in rounds]
            figures.add(comparison, subject, statistics.median(of_rounds))
        figures.allow(comparison, "without files", budget)
    figures.notes.append(f"load at the end: {os.getloadavg()[0]:.1f}")
