"""What TensorBoard and W&B themselves read: every row once, and what it says."""

from __future__ import annotations

import json
import math
import shutil
import struct
from typing import TYPE_CHECKING

import pytest

import codex_obs
from peer_readers import StandIn, needs_peers, read, served

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = ["a//b", "ü ö", "../up", "x" * 300, "a b", '"quoted"', "back\\slash", "<b>", "line\nbreak"]

pytestmark = needs_peers


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a run of two sessions with rows of every kind."""
    run_dir = tmp_path_factory.mktemp("destinations") / "run"
    config = {"lr": 1e-5, "n": 3, "on": True, "name": "a|b", "opt": {"betas": [0.9, 0.99]}}
    for first in (0, 100):
        with codex_obs.init(
            run_dir, run_id="r1", config=config, tags={"team": "x"}, tensorboard=True, wandb="offline", resume="allow"
        ) as run:
            for step in range(first, first + 100):
                run.log({"loss": step / 7, "lr": 1e-5}, step=step)
            run.log({"nan": float("nan"), "inf": float("inf"), "minus": float("-inf"), "huge": -1e300}, step=first)
            run.log(dict.fromkeys(HOSTILE, 1.0), step=first, split="eval")
            run.log(
                {"hist": {"counts": [1, 2], "edges": [0, 1, 2]}, "grad": list(range(60)), "text": "words"}, step=first
            )
            run.log({"falling": 2.0}, step=2**62)
            run.log({"falling": 1.0}, step=-(2**63) + first)
    return run_dir


def test_tensorboard_s_own_reader_finds_every_row_once(logged: Path) -> None:
    found = read("read_events.py", logged / "tensorboard")
    scalars = found["scalars"]
    assert [step for _, step, _ in scalars["train/loss"]] == list(range(200))
    for _, step, value in scalars["train/loss"]:
        assert value == single(step / 7)
    assert [value for _, _, value in scalars["train/inf"]] == [math.inf] * 2
    assert [value for _, _, value in scalars["train/minus"]] == [-math.inf] * 2
    assert all(math.isnan(value) for _, _, value in scalars["train/nan"])
    assert [step for _, step, _ in scalars["train/falling"]] == [2**62, -(2**63), 2**62, -(2**63) + 100]
    assert {f"eval/{name}" for name in HOSTILE} <= scalars.keys()
    rows = codex_obs.read(logged)
    shown = sum(len(points) for points in scalars.values())
    shown += sum(len(series["values"]) for tag, series in found["tensors"].items() if tag != "parameters")
    assert shown == rows.height
    times = sorted(wall_time for points in scalars.values() for wall_time, *_ in points)
    logged_at = rows.filter(rows["manifest_id"].is_null())["timestamp"].dt.epoch("us").sort()
    assert times == [micros / 1e6 for micros in logged_at]


def test_tensorboard_s_own_reader_finds_histograms_texts_and_parameters(logged: Path) -> None:
    found = read("read_events.py", logged / "tensorboard")
    tensors = found["tensors"]
    assert tensors["train/hist"]["values"][0] == [0, [[0, 1, 1], [1, 2, 2]]]
    grad = tensors["train/grad"]["values"][0][1]
    assert (len(grad), sum(count for *_, count in grad)) == (30, 60)
    assert tensors["train/text"] == {"plugin": "text", "values": [[0, ["words"]], [100, ["words"]]]}
    assert found["hparams"] == {"lr": 1e-5, "n": 3.0, "on": True, "name": "a|b", "opt/betas": "[0.9,0.99]"}
    assert [step for step, _ in tensors["parameters"]["values"]] == [0, 1]


@pytest.mark.parametrize("loader", ["true", "false"])
def test_the_server_of_tensorboard_shows_every_row(logged: Path, loader: str) -> None:
    with served(logged / "tensorboard", loader) as scalars:
        assert [step for _, step, _ in scalars("train/loss", 200)] == list(range(200))


def test_an_offline_run_has_every_row_once(logged: Path) -> None:
    (path,) = logged.glob("wandb/offline-run-*/run-r1.wandb")
    records = read("read_wandb.py", path)
    assert [kind for kind, _ in records[:5]] == ["header", "run", "metric", "metric", "config"]
    assert [kind for kind, _ in records[-2:]] == ["summary", "exit"]
    assert sum(kind == "exit" for kind, _ in records) == 1
    history = [record for kind, record in records if kind == "history"]
    assert [record["step"] for record in history] == list(range(len(history)))
    own = {"codex/step", "_timestamp", "_runtime", "_step"}
    rows = sorted(
        (int(record["values"]["codex/step"]), name) for record in history for name in record["values"].keys() - own
    )
    logged_rows = codex_obs.read(logged)
    assert rows == sorted(
        zip(logged_rows["step"], (logged_rows["split"].cast(str) + "/" + logged_rows["metric"].cast(str)), strict=True)
    )
    together = next(record["values"] for record in history if "train/nan" in record["values"])
    assert [together[f"train/{name}"] for name in ("nan", "inf", "minus")] == ["NaN", "Infinity", "-Infinity"]
    shown = next(record["values"] for record in history if "train/hist" in record["values"])
    assert json.loads(shown["train/hist"]) == {"_type": "histogram", "values": [1, 2], "bins": [0, 1, 2]}
    assert json.loads(shown["train/text"]) == "words"
    config = dict(next(record for kind, record in records if kind == "config"))
    assert {key: json.loads(text) for key, text in config.items()} == {
        "lr": 1e-5,
        "n": 3,
        "on": True,
        "name": "a|b",
        "opt/betas": [0.9, 0.99],
    }


def test_wandb_sync_uploads_every_record_once_and_what_is_logged_later_goes_on(logged: Path, tmp_path: Path) -> None:
    run_dir = shutil.copytree(logged, tmp_path / "run")
    with StandIn(tmp_path) as server:
        (first,) = run_dir.glob("wandb/offline-run-*")
        server.upload(first)
        with codex_obs.init(run_dir, wandb="offline", resume="allow") as run:
            for step in range(200, 210):
                run.log({"loss": step / 7}, step=step)
        (second,) = set(run_dir.glob("wandb/offline-run-*")) - {first}
        server.upload(second)
    lines = server.lines("r1")
    assert [line["_step"] for line in lines] == list(range(len(lines)))
    losses = [(line["codex/step"], line["train/loss"]) for line in lines if "train/loss" in line]
    assert losses == [(step, pytest.approx(step / 7)) for step in range(210)]
    run = server.arrived()["runs"]["r1"]
    assert run["exitcode"] == 0
    assert run["displayName"] == "run"
    assert run["tags"] == ["team:x"]
    assert json.loads(run["summary"])["train/loss"] == pytest.approx(209 / 7)


def single(number: float) -> float:
    (value,) = struct.unpack("<f", struct.pack("<f", number))
    return float(value)
