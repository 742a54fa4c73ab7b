"""Artifacts where they are delivered to: each is there, and only what is new is sent."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import codex_obs
from peer_readers import DEADLINE_S, PROGRAMS
from rig.server import python_of_the_server

PACKAGE = Path(__file__).parents[2] / "python"


@pytest.mark.mlflow
def test_mlflow_has_each_artifact_and_gets_only_what_is_new(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    with codex_obs.init(run_dir) as run:
        run.log_artifact(tmp_path / "model.bin")
        run.log_artifact(tmp_path / "model.bin", "best/ü model.bin")
    command = [
        str(python_of_the_server()),
        str(PROGRAMS / "deliver_artifacts.py"),
        str(run_dir),
        str(tmp_path / "store"),
    ]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE), "MLFLOW_ALLOW_FILE_STORE": "true", "HOME": str(tmp_path)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    assert found == [[[2, 0, None], [0, 0, None], [1, 0, None]], ["best/ü model.bin", "model.bin"], "newer"]
