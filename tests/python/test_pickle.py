"""A run pickles to its path and settings and opens its own stream where it arrives."""

from __future__ import annotations

import copy
import pickle
import pickletools
import subprocess
import sys
from typing import TYPE_CHECKING

import cloudpickle
import pytest

import codex_obs
from codex_obs import _open_runs
from codex_obs.testing import read_rows

if TYPE_CHECKING:
    from pathlib import Path

ARRIVE = """
import pickle, sys, codex_obs
run = pickle.loads(bytes.fromhex(sys.argv[1]))
again = pickle.loads(bytes.fromhex(sys.argv[1]))
assert again is run
codex_obs.log({"loss": 2.0})
print(run.stream, run.run_id, run.path, run.settings.max_shard_bytes, run.settings.resume_step, run.name)
"""


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_in_the_process_that_has_it_open_it_is_that_run(protocol: int, run_dir: Path) -> None:
    run = codex_obs.init(run_dir)
    assert pickle.loads(pickle.dumps(run, protocol)) is run
    assert pickle.loads(cloudpickle.dumps(run)) is run
    assert copy.copy(run) is run
    assert copy.deepcopy({"run": run})["run"] is run


def test_a_pickle_names_the_package_and_none_of_its_files(run_dir: Path) -> None:
    run = codex_obs.init(run_dir)
    named = {text for _, text, _ in pickletools.genops(pickle.dumps(run, 4)) if isinstance(text, str)}
    assert {name for name in named if name.startswith("codex_obs")} == {"codex_obs"}
    assert pickle.loads(pickle.dumps(codex_obs.Run)) is codex_obs.Run


def test_in_another_process_it_writes_a_stream_of_its_own(run_dir: Path) -> None:
    run = codex_obs.init(run_dir, max_shard_bytes=4096, resume_step=7, name="first")
    run.log({"loss": 1.0})
    done = subprocess.run(
        [sys.executable, "-c", ARRIVE, pickle.dumps(run).hex()], capture_output=True, text=True, timeout=60, check=True
    )
    stream, *rest = done.stdout.split()
    assert stream.startswith("pid-")
    assert rest == [run.run_id, str(run_dir), "4096", "None", "first"]
    assert run.close()
    assert [(row["value"], row["step"]) for row in read_rows(run_dir)] == [(1.0, 7), (2.0, 0)]


def test_arriving_does_not_take_the_place_of_the_current_run(tmp_path: Path) -> None:
    first = codex_obs.init(tmp_path / "a")
    pickled = pickle.dumps(first)
    first.close()
    current = codex_obs.init(tmp_path / "b")
    arrived = pickle.loads(pickled)
    assert _open_runs.current() is current
    current.close()
    assert _open_runs.current() is arrived


def test_errors_and_settings_pickle() -> None:
    error = codex_obs.SettingError("rank=-1 cannot be used")
    assert repr(pickle.loads(pickle.dumps(error))) == repr(error)
    settings = codex_obs.Settings(rank=3)
    assert copy.deepcopy(settings) == settings
