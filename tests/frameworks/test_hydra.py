"""Hydra: each job has a run of its own, in its folder, with its configuration, overrides and status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import codex_obs
from run_files import config_of, lines_of, status_of

pytest.importorskip("hydra", reason="needs Hydra: make frameworks")

EXAMPLE = Path(__file__).parents[2] / "examples/hydra_train.py"


def run_example(tmp_path: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], list[Path]]:
    folders = [f"hydra.run.dir={tmp_path}/one", f"hydra.sweep.dir={tmp_path}/sweep"]
    command = [sys.executable, str(EXAMPLE), *arguments, *folders]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    return done, sorted(path.parent for path in tmp_path.rglob("run.json"))


def test_a_sweep_gives_a_run_for_each_job_with_its_overrides(tmp_path: Path) -> None:
    done, runs = run_example(tmp_path, "-m", "lr=0.1,0.2", "+name=x,y")
    assert done.returncode == 0, done.stderr
    assert [run.relative_to(tmp_path / "sweep").name for run in runs] == ["0", "1", "2", "3"]
    for number, (run, (rate, name)) in enumerate(
        zip(runs, [(rate, name) for rate in (0.1, 0.2) for name in "xy"], strict=True)
    ):
        assert config_of(run) == {"lr": rate, "steps": 5, "name": name}
        metadata = lines_of(run, "params")[0]["metadata"]["tags"]
        assert metadata == {"overrides": [f"lr={rate}", f"+name={name}"], "job": number, "job_name": "hydra_train"}
        losses = codex_obs.read(run)["value"].to_list()
        assert losses == [pytest.approx((1 - rate) ** step) for step in range(1, 6)]
        assert status_of(run) == "finished"
    assert len({lines_of(run, "run")[0]["run_id"] for run in runs}) == 4


def test_a_single_job_has_its_run_in_its_folder(tmp_path: Path) -> None:
    done, runs = run_example(tmp_path, "steps=2", "+hydra.callbacks.codex_obs.run_dir=log")
    assert (done.returncode, runs) == (0, [tmp_path / "one/log"])
    assert codex_obs.read(runs[0])["step"].to_list() == [0, 1]


def test_a_job_that_raises_is_a_failed_run(tmp_path: Path) -> None:
    done, (run,) = run_example(tmp_path, "steps=many")
    assert done.returncode != 0
    assert status_of(run) == "failed"
