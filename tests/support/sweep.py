"""A sweep to look at: six trainings of one model, the same on every machine."""

from __future__ import annotations

import json
import math
import random
from typing import TYPE_CHECKING

import codex_obs

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 2400
# Name, learning rate, optimizer, how steadily it learns.
RUNS = (
    ("adam-3e-3", 3e-3, "adam", 0.10),
    ("adam-1e-3", 1e-3, "adam", 0.06),
    ("adam-3e-4", 3e-4, "adam", 0.04),
    ("sgd-1e-1", 1e-1, "sgd", 0.12),
    ("sgd-3e-2", 3e-2, "sgd", 0.07),
)
_HALF_LIFE = {"adam-3e-3": 160, "adam-1e-3": 240, "adam-3e-4": 520, "sgd-1e-1": 330, "sgd-3e-2": 700}
_FLOOR = {"adam-3e-3": 0.34, "adam-1e-3": 0.21, "adam-3e-4": 0.26, "sgd-1e-1": 0.30, "sgd-3e-2": 0.38}
# So long ago it began, in seconds, and so long a step takes.
_BEGAN_S = 1_790_000_000
_STEP_S = 0.8


def write_sweep(folder: Path) -> None:
    """Write the runs; the last of them diverges and fails."""
    for number, (name, lr, optimizer, noise) in enumerate(RUNS):
        config = {"lr": lr, "batch_size": 128, "optimizer": {"name": optimizer, "weight_decay": 0.01 * (number % 2)}}
        began = _BEGAN_S + 3000 * number
        with codex_obs.init(folder / name, config=config) as run:
            _train(run, name, lr, noise, (began, 1300 + 70 * number))
        _sample(folder / name, began)
    began = _BEGAN_S + 3000 * len(RUNS)
    run = codex_obs.init(folder / "sgd-1", config={"lr": 1.0, "batch_size": 128, "optimizer": {"name": "sgd"}})
    for step in range(0, 900, 3):
        loss = 2.3 + math.exp((step - 880) / 90) if step < 880 else math.inf if step < 890 else math.nan
        run.log({"loss": loss, "grad/norm": 0.4 + math.exp((step - 760) / 110)}, step, timestamp=began + step * _STEP_S)
    run.finish("failed")


def _train(run: codex_obs.Run, name: str, lr: float, noise: float, pace: tuple[float, float]) -> None:
    dice = random.Random(name)
    began, usual_speed = pace
    for step in range(STEPS):
        at = began + step * _STEP_S
        warm = min(1.0, (step + 1) / 120) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        loss = _FLOOR[name] + 2.0 * 0.5 ** (step / _HALF_LIFE[name])
        measured = loss * math.exp(dice.gauss(0, noise))
        norms = {"grad/norm": 0.3 + loss * abs(dice.gauss(0.5, 0.08)), "grad/clipped": float(loss > 1.2)}
        speed = usual_speed - 220 * 0.5 ** (step / 60) + dice.gauss(0, 14)
        run.log({"loss": measured, "lr": lr * warm, "images_per_s": speed, **norms}, step, timestamp=at)
        if step % 60 == 0 or step == STEPS - 1:
            held_out = loss * 1.08 + 0.02 * abs(dice.gauss(0, 1)) + max(0, step - 1500) * 2e-5
            run.log({"loss": held_out, "accuracy": 1 - 0.36 * held_out}, step, split="eval", timestamp=at)
            spread = 0.4 + 0.5 * (1 - 0.5 ** (step / _HALF_LIFE[name]))
            run.log({"weights/head": _histogram(dice, spread)}, step, timestamp=at)


def _histogram(dice: random.Random, spread: float) -> dict[str, list[float]]:
    edges = [-2.5 + place * 0.125 for place in range(41)]
    counts = [0.0] * 40
    for _ in range(500):
        place = int((dice.gauss(0.1 * spread, spread) + 2.5) / 0.125)
        if 0 <= place < len(counts):
            counts[place] += 1
    return {"counts": counts, "edges": edges}


def _sample(path: Path, began: float) -> None:
    """Write what a sampler of the machine writes, and the spans of an evaluation that calls tools."""
    dice = random.Random(began)
    with (path / "system_metrics.jsonl").open("w") as file:
        for place in range(190):
            gpu = {
                "index": 0,
                "util": 88 + 9 * dice.random(),
                "mem_used": 31e9 + place * 1e7,
                "temp_c": 61 + place / 30,
            }
            sample = {
                "ts": began + place * 10,
                "host": "node-1",
                "cpu_percent": 42 + 12 * math.sin(place / 9) + 6 * dice.random(),
                "memory": {"percent": 38 + place / 20, "used": 48e9 + place * 5e7},
                "gpus": [gpu | {"power_w": 610 + 60 * dice.random()}],
            }
            file.write(json.dumps(sample) + "\n")
