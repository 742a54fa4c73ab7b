"""Calls that are wrong are answered with what would be right."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from codex_obs._settings import environment
from codex_obs.testing import MemoryRun, open_run, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOG: list[tuple[Callable[[Any], object], str]] = [
    (lambda run: run.log("loss", 0.5), 'metrics must be a mapping, not str: write run.log({"loss": 0.5})'),
    (lambda run: run.log("loss", 0.5, step=3), 'not str: write run.log({"loss": 0.5}, step=3)'),
    (lambda run: run.log({"a": 1}, 1, step=3), "multiple values for argument 'step'"),
    (lambda run: run.log({"a": 1}, metrics={"b": 1}), "multiple values for argument 'metrics'"),
    (lambda run: run.log("loss"), 'metrics must be a mapping, not str: write run.log({"loss": value})'),
    (lambda run: run.log(loss=0.5), 'metrics are given as one mapping: write run.log({"loss": 0.5})'),
    (lambda run: run.log(loss=0.5, acc=1, step=2), 'write run.log({"loss": 0.5, "acc": 1}, step=2)'),
    (lambda run: run.log(loss=[1]), 'metrics are given as one mapping: write run.log({"loss": ...})'),
    (lambda run: run.log(), "metrics must be a mapping, not NoneType"),
    (lambda run: run.log({"a": 1}, stp=1), "log has no argument 'stp': did you mean 'step'?"),
    (lambda run: run.log({"a": 1}, epoch=1), "log has no argument 'epoch'"),
    (lambda run: run.log({"a": 1}, "eval"), "step must be an integer, not str"),
    (lambda run: run.log({"a": 1}, 0.5), "step must be an integer, not float"),
    (
        lambda run: run.log({"a": 1}, 1, "eval"),
        "log takes metrics and step without their names, and 3 arguments were given so",
    ),
]


@pytest.mark.parametrize("index", range(len(LOG)))
def test_a_wrong_call_of_log_says_how_to_write_it_and_writes_nothing(index: int, run_dir: Path) -> None:
    call, words = LOG[index]
    with open_run(run_dir) as run:
        for callee in (run, codex_obs):
            if callee is codex_obs:
                codex_obs.init(run_dir)
            with pytest.raises(TypeError, match=re.escape(words)):
                call(callee)
        assert run.stats()["rows_logged"] == 0


def test_a_step_may_stand_second(run_dir: Path) -> None:
    run = codex_obs.init(run_dir)
    run.log({"a": 1}, 3)
    codex_obs.log({"a": 2}, 4, split="eval")
    run.close()
    assert [(row["value"], row["step"], row["split"]) for row in read_rows(run_dir)] == [
        (1, 3, "train"),
        (2, 4, "eval"),
    ]
    memory = MemoryRun()
    memory.log({"a": 1}, 3)
    assert memory.values("a") == [(3, 1)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"fsyc": "always"}, "'fsyc': did you mean 'fsync'?"),
        ({"max_shard_byte": 1}, "'max_shard_byte': did you mean 'max_shard_bytes'?"),
        ({"Config": {}}, "'Config': did you mean 'config'?"),
        ({"project": "p"}, "'project': give run_dir='runs/<project>/<run>'"),
        ({"mode": "offline"}, "'mode': logging is local"),
        ({"hparams": {}}, "'hparams': give config=..."),
        ({"tracking_uri": "x"}, "'tracking_uri': give mlflow_tracking_uri=..."),
        ({"qqqq": 1}, "'qqqq': help(codex_obs.init)"),
    ],
)
def test_an_argument_that_does_not_exist_is_answered_with_one_that_does(
    arguments: dict[str, Any], words: str, run_dir: Path
) -> None:
    with pytest.raises(TypeError, match=re.escape(words)):
        codex_obs.init(run_dir, **arguments)
    with pytest.raises(TypeError, match=re.escape(words)):
        codex_obs.Settings(**arguments)
    assert not run_dir.exists()


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        (["a"], "tags must be a mapping or None, not list: give tags={'a': True}"),
        (("a", "b"), "not tuple: give tags={'a': True, 'b': True}"),
        ("baseline", "not str: give tags={'name': 'baseline'}"),
        ([1], "not list: vars() makes one of an object"),
    ],
)
def test_tags_that_are_no_mapping_are_answered_with_one(tags: Any, words: str, run_dir: Path) -> None:
    with pytest.raises(codex_obs.SettingError, match=re.escape(words)):
        codex_obs.init(run_dir, tags=tags)
    assert not run_dir.exists()


def test_a_variable_that_is_not_read_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(environment, "_told", set())
    monkeypatch.setenv("CODEX_OBS_FSYNK", "always")
    monkeypatch.setenv("CODEX_OBS_ZZZ", "1")
    monkeypatch.setenv("CODEX_OBS_FSYNC", "always")
    with caplog.at_level(logging.WARNING, "codex_obs"):
        codex_obs.init(tmp_path / "a").close()
        codex_obs.init(tmp_path / "b").close()
    assert caplog.messages == [
        "codex_obs: the environment variable CODEX_OBS_FSYNK is not read: did you mean CODEX_OBS_FSYNC?",
        "codex_obs: the environment variable CODEX_OBS_ZZZ is not read: codex_obs.env_vars() lists those that are",
    ]


PLACES: dict[str, tuple[str, str]] = {
    "a file in the way": ("file/run", r"file/run.*(Not a directory|not a folder)"),
    "a file itself": ("file", r"file.*(not a folder|Not a directory|File exists)"),
    "another tool's run.json": ("foreign", r"run\.json"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_place_that_cannot_be_used_is_one_sentence(name: str, tmp_path: Path) -> None:
    place, words = PLACES[name]
    (tmp_path / "file").write_text("x")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "run.json").write_text('{"project":"x"}\n')
    with pytest.raises(codex_obs.CodexObsError, match=words) as caught:
        codex_obs.init(tmp_path / place)
    assert "\n" not in str(caught.value)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_a_folder_without_permission_is_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o700)
    # What init imports is read as root: the interpreter may be where nobody else may look.
    program = "import os, codex_obs; codex_obs.init('warm').close(); os.setuid(65534); codex_obs.init('locked/run')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "Permission denied" in done.stderr.splitlines()[-1]
