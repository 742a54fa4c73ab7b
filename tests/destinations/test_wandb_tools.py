"""W&B's newer tools: leet, which reads a file, and the live upload of one that still grows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import codex_obs
from faults.tally import wait_until
from peer_readers import DEADLINE_S, StandIn, needs_peers, wandb

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_peers


def offline_folder(run_dir: Path) -> Path:
    (folder,) = run_dir.glob("wandb/offline-run-*")
    return folder


def test_leet_says_how_the_run_stands_and_its_last_values(run_dir: Path, tmp_path: Path) -> None:
    with codex_obs.init(run_dir, run_id="r1", config={"lr": 0.1}, wandb="offline") as run:
        for step in range(50):
            run.log({"loss": step / 7}, step=step)
    with wandb("leet", "inspect", "--summary", "--json", offline_folder(run_dir), home=tmp_path) as leet:
        found, words = leet.communicate(timeout=DEADLINE_S)
    assert leet.returncode == 0, words
    said = json.loads(found)
    assert (said["run_id"], said["state"], said["exit_code"], said["step"]) == ("r1", "finished", 0, 49)
    assert (said["summary"]["train/loss"], said["summary"]["codex/step"]) == (49 / 7, 49)
    assert said["config"] == {"lr": 0.1}


def test_a_run_is_uploaded_while_it_is_logged_with_every_record_once(run_dir: Path, tmp_path: Path) -> None:
    with StandIn(tmp_path) as server:
        with codex_obs.init(run_dir, run_id="r1", wandb="offline", export_interval_s=0.05) as run:
            run.log({"loss": 0.0}, step=0)
            wait_until(lambda: any(run_dir.glob("wandb/offline-run-*/*.wandb")), DEADLINE_S, "a file")
            live = wandb("beta", "sync", "--live", offline_folder(run_dir), home=tmp_path, port=server.port)
            steps = 1
            # The upload has begun before the run ends.
            while not server.has_begun() or steps < 200:
                assert live.poll() is None, live.communicate()
                run.log({"loss": steps / 7}, step=steps)
                steps += 1
                assert run.flush(DEADLINE_S)
        words = live.communicate(timeout=DEADLINE_S)
        assert live.returncode == 0, words
    lines = server.lines("r1")
    assert [(line["_step"], line["codex/step"]) for line in lines] == [(step, step) for step in range(steps)]
    assert server.arrived()["runs"]["r1"]["exitcode"] == 0
