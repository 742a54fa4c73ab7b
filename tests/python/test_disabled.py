"""A run that is switched off: the same objects, no file, no thread, every counter 0."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import codex_obs


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_a_disabled_run_does_nothing_with_everything(
    way: str, working_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "environment":
        monkeypatch.setenv("CODEX_OBS_DISABLED", "1")
    disabled: Any = {"disabled": True} if way == "argument" else {}
    run = codex_obs.init(config={"lr": 0.1}, tags={"a": 1}, **disabled)
    assert isinstance(run, codex_obs.Run)
    threads = len(list(Path("/proc/self/task").iterdir()))
    with run:
        assert codex_obs.current_run() is run
        run.log({"loss": 0.5, "matrix": [1, 2]}, step=3)
        codex_obs.log({"loss": 0.5})
        run.bind("a", "b")(1.0, 2.0)
        run.event("TRAINER", "words", timesteps=5, loss=1)
        run.log_params({"more": 1})
        assert dict(run.config) == {"lr": 0.1, "more": 1}
        assert run.flush(sync=True)
        assert len(list(Path("/proc/self/task").iterdir())) == threads
    assert run.closed
    run.log({"late": 1})
    assert run.close()
    assert set(run.stats().values()) == {0}
    assert run.run_id
    assert list(working_directory.iterdir()) == []


def test_a_disabled_run_says_where_it_would_be(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "a", disabled=True, run_id="r1", name="n", rank=2) as run:
        assert (run.path, run.run_id, run.name, run.stream) == (tmp_path / "a", "r1", "n", "rank-2")
    with codex_obs.init(tmp_path / "b", disabled=True) as run:
        assert (run.name, run.stream) == ("b", "main")
    assert list(tmp_path.iterdir()) == []


def test_children_of_a_disabled_run_write_nothing_either(tmp_path: Path) -> None:
    run = codex_obs.init(tmp_path / "run", disabled=True)
    if (child := os.fork()) == 0:
        run.log({"a": 1})
        os._exit(set(run.stats().values()) != {0})
    assert os.waitpid(child, 0)[1] == 0
    program = (
        "import pickle, sys, json, codex_obs\nrun = pickle.loads(sys.stdin.buffer.read())\nrun.log({'a': 1})\n"
        "run.close()\nprint(json.dumps(run.stats()))"
    )
    done = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(run), capture_output=True, check=True)
    assert set(json.loads(done.stdout).values()) == {0}
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments_are_errors_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(codex_obs.SettingError, match=r"^backup_count="):
        codex_obs.init(tmp_path / "run", disabled=True, backup_count="some")  # type: ignore[arg-type]  # the point
    run = codex_obs.init(tmp_path / "run", disabled=True)
    with pytest.raises(TypeError):
        run.log([1])  # type: ignore[arg-type]  # the point


def test_a_run_is_opened_where_a_disabled_one_would_be(tmp_path: Path) -> None:
    off = codex_obs.init(tmp_path / "run", disabled=True)
    with codex_obs.init(tmp_path / "run") as run:
        assert run is not off
        run.log({"a": 1})
    assert codex_obs.read(tmp_path / "run").height == 1
