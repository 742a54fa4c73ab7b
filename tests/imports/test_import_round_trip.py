"""What the destinations of this package write, imported: the log again."""

from __future__ import annotations

import json
import math
import struct
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from typer.testing import CliRunner

import codex_obs
from codex_obs.cli import app
from codex_obs.system import SampleLog, Sampler

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = {"lr": 1e-5, "n": 3, "on": True, "name": "a|b", "opt": {"betas": [0.9, 0.99], "kind": "adam"}}

# What destinations make of it: names of nested ones have a slash.
PARAMETERS = {"lr": 1e-5, "n": 3, "on": True, "name": "a|b", "opt/betas": [0.9, 0.99], "opt/kind": "adam"}
# Hyperparameters of event files are floats, truth values and texts.
AS_HYPERPARAMETERS = {"n": 3.0, "opt/betas": "[0.9,0.99]"}


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a failed run of two sessions, written as event files and as a W&B offline run too."""
    path = tmp_path_factory.mktemp("logged") / "run"
    for first in (0, 100):
        run = codex_obs.init(path, name="first", run_id="r1", config=CONFIG, tensorboard=True, wandb="offline")
        for step in range(first, first + 100):
            run.log({"loss": step / 7, "grad/norm": -1e-30 * step, "n": step}, step=step)
            if step % 10 == 0:
                run.log({"loss": 1 / (step + 1)}, step=step, split="eval")
        run.log({"nan": math.nan, "up": math.inf, "down": -math.inf}, step=first)
        run.log({"weights": {"counts": [1, 0, 2], "edges": [0.0, 1.0, 2.0, 3.0]}, "note": "words"}, step=first)
        run.finish("failed")
    return path


def imported(source: Path, dest: Path) -> Path:
    done = CliRunner().invoke(app, ["import", str(source), "--dest", str(dest)])
    assert done.exit_code == 0, done.output
    return dest


def rows_of(path: Path, *, single: bool) -> list[tuple[Any, ...]]:
    """Give what a log says of its numbers, to the millisecond; in single precision, as event files have them."""
    frame = codex_obs.read(path).filter(pl.col("value").is_not_null() | pl.col("nonfinite").is_not_null())
    names = [frame[name].cast(pl.String) for name in ("split", "metric", "run_id", "nonfinite")]
    found = []
    for step, time, value, split, metric, run_id, odd in zip(
        frame["step"], frame["timestamp"].dt.epoch("ms"), frame["value"], *names, strict=True
    ):
        number = value if odd is None else float(odd)
        shown = struct.unpack("<f", struct.pack("<f", number))[0] if single else number
        found.append((step, time, split, metric, run_id, repr(shown)))
    return sorted(found)


def structured(path: Path) -> list[tuple[Any, ...]]:
    frame = codex_obs.payloads(path)
    values = map(json.loads, frame["payload"])
    found = zip(frame["step"], frame["metric"].cast(pl.String), values, strict=True)
    return sorted(found, key=lambda value: value[:2])


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_what_a_destination_wrote_is_the_log_again(kind: str, logged: Path, tmp_path: Path) -> None:
    path = imported(logged / kind, tmp_path / "again")
    runs = codex_obs.runs(path)
    (again,) = runs["path"]
    assert rows_of(again, single=kind == "tensorboard") == rows_of(logged, single=kind == "tensorboard")
    texts = [value for value in structured(again) if value[1] != "parameters"]
    assert texts == structured(logged)
    (config,) = runs["config"]
    assert config == PARAMETERS | (AS_HYPERPARAMETERS if kind == "tensorboard" else {})
    # Event files do not say that a run failed: it may be resumed.
    assert runs["status"].to_list() == ["finished" if kind == "tensorboard" else "failed"]


def test_runs_of_two_kinds_in_one_folder_are_not_passed_over(logged: Path, tmp_path: Path) -> None:
    words = CliRunner().invoke(app, ["import", str(logged), "--dest", str(tmp_path / "again")]).output
    assert "Left out: " in words
    assert "of TensorBoard, which is taken by naming its folder" in words


def test_samples_keep_their_names(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with codex_obs.init(run, wandb="offline") as open_run:
        open_run.log({"loss": 0.5}, step=0)
        log = SampleLog(run / "system_metrics.jsonl")
        sampler = Sampler(run)
        assert sampler.record(log) is None
        sampler.close()
    CliRunner().invoke(app, ["sync", str(run), "--to", "wandb"])
    again = codex_obs.read(imported(run / "wandb", tmp_path / "again"))
    system = again.filter(again["metric"] != "loss")
    assert system["split"].unique().to_list() == ["system"]
    assert "disk./.usagePercent" in system["metric"].cast(pl.String).to_list()
