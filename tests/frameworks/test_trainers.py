"""The trainers among the examples learn CartPole, and their events keep the schema."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import codex_obs

EXAMPLES = Path(__file__).parents[2] / "examples"
pytest.importorskip("gymnasium", reason="needs gymnasium: make frameworks")


def train(program: str, run_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / program), "--run-dir", str(run_dir), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def check(run_dir: Path) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "codex_obs", "check", str(run_dir), "--schema", "rl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("program", ["ppo.py", "spo.py"])
def test_it_reaches_a_return_of_400_and_keeps_the_schema(program: str, run_dir: Path) -> None:
    done = train(program, run_dir)
    assert done.returncode == 0, done.stderr
    code, lines = check(run_dir)
    assert (code, lines[-1]) == (0, "ok: every event has the keys of the schema rl")
    rows = codex_obs.read(run_dir)
    evaluations = rows.filter(split="evaluator", metric="mean_return")
    assert evaluations["value"][-1] >= 400
    # The cadence: each tenth update.
    updates = rows.filter(split="trainer", metric="value_loss")["step"]
    assert evaluations["step"].to_list() == updates.to_list()[9::10]
    metrics = set(rows.filter(split="trainer")["metric"])
    if program == "spo.py":
        assert {"mpo_temperature_loss", "mpo_alpha_loss", "mpo_total_loss", "replay_len"} <= metrics

    # Without one of its keys the same run is wrong.
    log = run_dir / "metrics.ndjson"
    kept = [line for line in log.read_text().splitlines(keepends=True) if '"metric":"episode_length_min"' not in line]
    log.write_text("".join(kept))
    code, lines = check(run_dir)
    count = evaluations.height
    wrong = f"missing: EVALUATOR: episode_length_min is missing from {count} of {count} events"
    assert (code, [line.partition(" (step")[0] for line in lines if line.startswith("missing")]) == (1, [wrong])


@pytest.mark.parametrize("program", ["ppo.py", "spo.py"])
def test_a_file_of_hyperparameters_is_taken_and_a_wrong_name_refused(
    program: str, run_dir: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "num_updates: 1\nlearning_rate: 1e-4\nnum_eval_episodes: 2\neval_interval: 1\nrollout_length: 8\n"
    )
    assert train(program, run_dir, "--config", str(config)).returncode == 0
    assert codex_obs.read(run_dir).filter(metric="replay_len" if program == "spo.py" else "learning_rate")[
        "value"
    ].to_list() == [64.0 if program == "spo.py" else 1e-4]
    config.write_text("learnrate: 1\n")
    done = train(program, run_dir, "--config", str(config))
    assert (done.returncode, "unknown: learnrate; known: seed, " in done.stderr) == (2, True)
