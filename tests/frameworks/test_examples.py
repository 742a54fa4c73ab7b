"""The examples of integrations run as they are, are short, and leave runs that are whole."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import codex_obs

EXAMPLES = Path(__file__).parents[2] / "examples"
MAX_LINES = 30
# The framework, and where its runs lie.
PROGRAMS = {
    "accelerate_train.py": ("accelerate", ["runs/accelerate"]),
    "gymnasium_train.py": ("gymnasium", ["runs/cartpole"]),
    "keras_train.py": ("keras", ["runs/keras"]),
    "lightning_train.py": ("lightning", ["runs/lightning"]),
    "optuna_train.py": ("optuna", ["runs/study/summary", *(f"runs/study/trial-{n:04}" for n in range(8))]),
    "ray_train.py": ("ray", ["runs/ray/*"]),
    "sklearn_train.py": ("sklearn.callback", ["runs/search"]),
    "stable_baselines3_train.py": ("stable_baselines3", ["runs/sb3"]),
    "transformers_train.py": ("transformers", ["runs/transformers"]),
}


def is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_runs_and_its_runs_are_whole(program: str, tmp_path: Path) -> None:
    module, runs = PROGRAMS[program]
    if not is_installed(module):
        pytest.skip(f"needs {module}: make frameworks")
    command = [sys.executable, str(EXAMPLES / program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for pattern in runs:
        found = list(tmp_path.glob(pattern))
        assert found
        assert all(codex_obs.read(run).height > 0 for run in found)


def test_every_example_of_an_integration_is_short_and_tested() -> None:
    programs = {path.name: path for path in EXAMPLES.glob("*_train.py")}
    assert programs.keys() - {"hydra_train.py"} == PROGRAMS.keys()
    too_long = {name for name, path in programs.items() if len(path.read_text().splitlines()) > MAX_LINES}
    assert too_long == set()
