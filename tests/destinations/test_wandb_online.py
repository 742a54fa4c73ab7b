"""W&B online: every record is at the server once, whatever dies, and what is wrong is said in one sentence."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import codex_obs
from codex_obs import _export
from command import start
from faults.tally import wait_until
from peer_readers import DEADLINE_S, PEERS, PROGRAMS, StandIn, needs_wandb, wandb_environment

PACKAGE = Path(__file__).parents[2] / "python"
RECORDS = 40
# Behind our own packages, for a command that has the other ones as well.
WITH_WANDB = "import sys; sys.path += sys.argv.pop(1).split(':'); from codex_obs.cli import main; main()"


def deliver(run_dir: Path, home: Path, port: int | None, patience_s: float = DEADLINE_S) -> subprocess.Popen[str]:
    command = [str(PEERS / "python"), str(PROGRAMS / "deliver_online.py"), str(run_dir), str(patience_s)]
    environment = wandb_environment(home, port) | {"PYTHONPATH": str(PACKAGE)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outcome(process: subprocess.Popen[str]) -> list[list[Any]]:
    found, words = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, words
    assert "Traceback" not in words
    outcomes: list[list[Any]] = json.loads(found)
    return outcomes


def cores(process: subprocess.Popen[str]) -> list[int]:
    """The processes of W&B's client."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in found if "wandb-core" in Path(f"/proc/{pid}/cmdline").read_text()]


class Log:
    """What is logged, and what the server is to have of it."""

    def __init__(self, run: codex_obs.Run) -> None:
        self.run = run
        self.expected: list[dict[str, float]] = []

    def log(self, count: int) -> None:
        for _ in range(count):
            number = len(self.expected)
            # Steps that fall and repeat, and what JSON has no word for.
            step = 7 - number // 2
            values = {"loss": number / 7, "odd": [math.nan, math.inf, -math.inf][number % 3]}
            self.run.log(values, step=step)
            self.expected.append({"codex/step": step, "train/loss": values["loss"], "train/odd": values["odd"]})
        assert self.run.flush(DEADLINE_S)

    def check(self, lines: list[dict[str, Any]]) -> None:
        assert [line["_step"] for line in lines] == list(range(len(self.expected)))
        for line, expected in zip(lines, self.expected, strict=True):
            assert {name: line[name] for name in expected} == pytest.approx(expected, nan_ok=True)


@needs_wandb
@pytest.mark.parametrize("faults", [3, pytest.param(50, marks=pytest.mark.big)])
def test_every_record_is_there_once_whatever_dies_or_is_away(run_dir: Path, tmp_path: Path, faults: int) -> None:
    chance = random.Random(faults)
    with codex_obs.init(run_dir, run_id="r1", name="first", config={"lr": 1e-5}, tags={"team": "x"}):
        pass
    with codex_obs.init(run_dir, rank=1) as run:
        rank = Log(run)
        rank.log(3)
    kinds = ["delivery", "core", "away", "delivery"]
    with StandIn(tmp_path) as server, codex_obs.init(run_dir) as run:
        main = Log(run)
        main.log(1)
        process = deliver(run_dir, tmp_path, server.port)
        for fault in range(faults):
            kind = kinds[fault % len(kinds)]
            main.log(RECORDS)
            least = len(main.expected) - chance.randrange(RECORDS)
            wait_until(lambda least=least: server.control("lines").get("r1", 0) >= least, DEADLINE_S, f"{least} lines")  # type: ignore[misc]
            if kind == "delivery":
                process.kill()
                process.communicate(timeout=DEADLINE_S)
                process = deliver(run_dir, tmp_path, server.port)
            elif kind == "core":
                for pid in cores(process):
                    os.kill(pid, signal.SIGKILL)
            else:
                server.control("away")
                main.log(RECORDS)
                server.control("back")
        main.log(RECORDS)
        run.close()
        found = outcome(process)
        assert [each[:4] for each in found] == [
            ["main", True, None, "finished"],
            ["rank-1", True, None, None],
        ]
        assert found[0][4] == f"http://127.0.0.1:{server.port}/me/uncategorized/runs/r1"
    main.check(server.lines("r1"))
    rank.check(server.lines("r1-rank-1"))
    runs = server.arrived()["runs"]
    assert {run: about["exitcode"] for run, about in runs.items()} == {"r1": 0, "r1-rank-1": 0}
    assert (runs["r1"]["displayName"], runs["r1-rank-1"]["displayName"]) == ("first", "first rank-1")
    assert json.loads(runs["r1"]["config"])["lr"]["value"] == 1e-5
    assert runs["r1"]["tags"] == ["team:x"]
    assert not (run_dir / ".codex_obs" / "wandb-online").exists()


@needs_wandb
def test_without_a_key_one_sentence_says_what_to_do(run_dir: Path, tmp_path: Path) -> None:
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 1.0})
    (main,) = outcome(deliver(run_dir, tmp_path, None))
    assert main[1:3] == [False, "W&B has no API key: run `wandb login`, or set WANDB_API_KEY"]


@needs_wandb
@pytest.mark.big
def test_without_a_server_it_waits_and_says_so(run_dir: Path, tmp_path: Path) -> None:
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 1.0})
    (main,) = outcome(deliver(run_dir, tmp_path, 9, patience_s=90.0))
    assert not main[1]
    assert main[2].startswith("W&B cannot be reached: "), main[2]


def sync(run_dir: Path, home: Path, port: int) -> subprocess.CompletedProcess[str]:
    (packages,) = PEERS.parent.glob("lib/python3*/site-packages")
    command = [sys.executable, "-c", WITH_WANDB, str(packages), "sync", str(run_dir), "--to", "wandb"]
    return subprocess.run(
        [*command, "--wandb-mode", "online"],
        env=wandb_environment(home, port),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


@needs_wandb
def test_sync_sends_a_run_and_its_artifacts_and_the_second_time_nothing(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_text("weights")
    with codex_obs.init(run_dir, run_id="r1", config={"lr": 0.1}) as run:
        for step in range(20):
            run.log({"loss": step / 7, "words": "text"}, step=step)
        run.log({"hist": {"counts": [1, 2], "edges": [0, 1, 2]}}, step=20)
        run.log_artifact(tmp_path / "model.bin", "best/model.bin")
        run.finish("failed")
    with StandIn(tmp_path) as server:
        first, second = (sync(run_dir, tmp_path, server.port) for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.splitlines() == [
        f"{run_dir}: 41 points delivered to wandb",
        f"{run_dir}: http://127.0.0.1:{server.port}/me/uncategorized/runs/r1",
        f"{run_dir}: 1 artifact delivered to wandb",
    ]
    assert (second.returncode, second.stdout, second.stderr) == (0, f"{run_dir}: nothing new for wandb\n", "")
    lines = server.lines("r1")
    assert [(line["_step"], line["codex/step"]) for line in lines] == [(step, step) for step in range(21)]
    assert lines[3]["train/words"] == "text"
    assert lines[20]["train/hist"] == {"_type": "histogram", "values": [1, 2], "bins": [0, 1, 2]}
    arrived = server.arrived()
    assert arrived["artifacts"] == [{"best/model.bin": "weights"}]
    run_there = arrived["runs"]["r1"]
    assert (run_there["exitcode"], json.loads(run_there["summary"])["train/loss"]) == (1, pytest.approx(19 / 7))


def test_without_the_package_sync_says_what_to_install(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 1.0})
    done = start("sync", run_dir, "--to", "wandb", "--wandb-mode", "online", cwd=run_dir.parent)
    assert done.returncode == 1
    assert "wandb is not installed: pip install 'codex-obs[wandb]'" in done.stderr


def test_it_is_sent_beside_the_trainer_and_a_switched_off_client_stays_off(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex_obs.destinations.wandb_online.find_spec", lambda _name: True)
    settings = codex_obs.Settings(wandb="online", export_ranks="all")
    assert _export.destinations(settings) == []
    (beside,) = _export.beside(settings)
    assert (beside.name, beside.arguments) == ("wandb", "--to wandb --wandb-mode online --export-ranks all")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert _export.beside(settings) == []
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 1.0})
    done = start("sync", run_dir, "--to", "wandb", "--wandb-mode", "online", cwd=run_dir.parent)
    assert done.returncode == 2
    assert "switches W&B off" in done.stderr
