"""Every row once for every reader, however often the process was killed, with rotation, archives and lost places."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

import codex_obs
from command import start
from peer_readers import DEADLINE_S, StandIn, needs_peers, read, served, wandb

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_peers

LOOP = """
import sys, time
import codex_obs

with codex_obs.init(
    sys.argv[1], run_id="r1", tensorboard=True, wandb="offline", resume="allow", export_interval_s=0.02,
    max_shard_bytes=20_000, backup_count=2, archive="zstd",
) as run:
    print("ready", flush=True)
    while True:
        run.log({"loss": 0.5, "lr": 1e-5})
        time.sleep(0.001)
"""


def torment(run_dir: Path, kills: int) -> None:
    """Kill a program that logs at random moments, and lose its places now and then."""
    chance = random.Random(kills)
    for _ in range(kills):
        with subprocess.Popen([sys.executable, "-c", LOOP, run_dir], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(chance.uniform(0, 0.4))
            process.send_signal(signal.SIGKILL)
        lost: list[str] = []
        if chance.random() < 0.3:
            lost.append(".codex_obs/export-*")
        if chance.random() < 0.1:
            lost.append("tensorboard/.codex_obs.json")
        for pattern in lost:
            for path in run_dir.glob(pattern):
                path.unlink()


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.big)])
def test_every_reader_finds_every_row_once_whenever_the_process_is_killed(
    run_dir: Path, tmp_path: Path, kills: int
) -> None:
    torment(run_dir, kills)
    for kind in ("tensorboard", "wandb"):
        done = start("sync", run_dir, "--to", kind, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    rows = codex_obs.read(run_dir)
    assert rows.height > 10 * kills
    if kills > 10:
        assert list(run_dir.glob("metrics.ndjson.*.zst")), "shards were packed"
    steps = {name: part["step"].to_list() for (name,), part in rows.group_by(["metric"], maintain_order=True)}
    assert steps["loss"] == sorted(set(steps["loss"])), "steps rise"

    scalars = read("read_events.py", run_dir / "tensorboard")["scalars"]
    assert {tag: [step for _, step, _ in points] for tag, points in scalars.items()} == {
        f"train/{name}": of for name, of in steps.items()
    }
    for loader in ("true", "false"):
        with served(run_dir / "tensorboard", loader) as shown:
            for name, of in steps.items():
                assert [step for _, step, _ in shown(f"train/{name}", len(of))] == of, loader

    (folder,) = run_dir.glob("wandb/offline-run-*")
    records = read("read_wandb.py", next(folder.glob("*.wandb")))
    history = [record for kind, record in records if kind == "history"]
    assert [record["step"] for record in history] == list(range(len(history)))
    assert sorted(
        (name.removeprefix("train/"), int(record["values"]["codex/step"]))
        for record in history
        for name in record["values"]
        if name.startswith("train/")
    ) == sorted((name, step) for name, of in steps.items() for step in of)
    with wandb("leet", "inspect", "--summary", folder, home=tmp_path) as leet:
        words, _ = leet.communicate(timeout=DEADLINE_S)
    assert f"step     {len(history) - 1}\n" in words
    with StandIn(tmp_path) as server:
        server.upload(folder)
    lines = server.lines("r1")
    assert [line["_step"] for line in lines] == list(range(len(history)))
    assert [line["codex/step"] for line in lines if "train/loss" in line] == steps["loss"]
