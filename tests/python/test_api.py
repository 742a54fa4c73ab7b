"""The functions of the module act on the current run."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import codex_obs
import codex_obs.testing
from codex_obs.testing import read_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType


@pytest.mark.parametrize(
    "call",
    [
        lambda: codex_obs.log({"a": 1}),
        lambda: codex_obs.log_params({"a": 1}),
        lambda: codex_obs.event("TRAINER", loss=0.5),
        codex_obs.flush,
        codex_obs.finish,
    ],
    ids=["log", "log_params", "event", "flush", "finish"],
)
def test_without_a_run_there_is_one_clear_error(call: Callable[[], object]) -> None:
    with pytest.raises(codex_obs.NoActiveRunError, match=r"call codex_obs\.init first"):
        call()


def test_they_act_on_the_run_opened_last_that_is_open(tmp_path: Path) -> None:
    codex_obs.init(tmp_path / "a")
    second = codex_obs.init(tmp_path / "b")
    codex_obs.log({"loss": 1.0}, step=1, split="eval", dataset="d", tags={"phase": "p"}, timestamp=0.5)
    assert codex_obs.flush(5.0, sync=True)
    (row,) = read_rows(tmp_path / "b")
    assert (row["step"], row["split"], row["dataset"], row["tags"]) == (1, "eval", "d", {"phase": "p"})
    assert row["timestamp"] == "1970-01-01T00:00:00.500000Z"
    assert codex_obs.finish("failed")
    assert second.closed
    codex_obs.log({"loss": 2.0})
    assert codex_obs.finish()
    assert [row["value"] for row in read_rows(tmp_path / "a")] == [2.0]
    statuses = {name: read_rows(tmp_path / name, "run")[-1]["status"] for name in ("a", "b")}
    assert statuses == {"a": "finished", "b": "failed"}
    with pytest.raises(codex_obs.NoActiveRunError):
        codex_obs.log({"loss": 3.0})


def test_parameters_and_events_go_to_the_current_run_too(run_dir: Path) -> None:
    assert codex_obs.current_run() is None
    run = codex_obs.init(run_dir)
    assert codex_obs.current_run() is run
    codex_obs.log_params({"lr": 0.1})
    codex_obs.event("EVALUATOR", "greedy", policy_version=3, mean_return=1.5)
    assert codex_obs.finish()
    assert codex_obs.current_run() is None
    assert [line["config"] for line in read_rows(run_dir, "params")] == [{}, {"lr": 0.1}]
    (row,) = read_rows(run_dir)
    assert (row["split"], row["step"], row["metric"], row["value"]) == ("evaluator", 3, "mean_return", 1.5)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("run", "codex_obs.current_run() gives the current run"),
        ("log_metrics", "codex_obs.log({name: value}) logs metrics"),
        ("start_run", "codex_obs.init(...) opens a run"),
        ("logg", "module 'codex_obs' has no attribute 'logg'"),
    ],
)
def test_a_name_that_another_logger_has_is_answered_with_ours(name: str, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import codex_obs, codex_obs.api; codex_obs.{name}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert words in done.stderr
    assert name != "logg" or "Did you mean: 'log'?" in done.stderr


def test_closing_a_run_that_is_not_current_leaves_the_current_one(tmp_path: Path) -> None:
    first = codex_obs.init(tmp_path / "a")
    codex_obs.init(tmp_path / "b")
    first.close()
    codex_obs.log({"loss": 1.0})
    codex_obs.finish()
    assert (len(read_rows(tmp_path / "a")), len(read_rows(tmp_path / "b"))) == (0, 1)


def test_init_of_an_open_run_makes_it_current_again(tmp_path: Path) -> None:
    codex_obs.init(tmp_path / "a")
    codex_obs.init(tmp_path / "b")
    codex_obs.init(tmp_path / "a")
    codex_obs.log({"loss": 1.0})
    codex_obs.flush()
    assert (len(read_rows(tmp_path / "a")), len(read_rows(tmp_path / "b"))) == (1, 0)


def test_a_run_that_nobody_holds_stays_open(run_dir: Path) -> None:
    codex_obs.init(run_dir)
    codex_obs.log({"loss": 1.0})
    codex_obs.finish()
    assert len(read_rows(run_dir)) == 1


@pytest.mark.parametrize("status", ["done", "", None, 0, b"failed"])
def test_an_unknown_status_is_named(status: object, run_dir: Path) -> None:
    run = codex_obs.init(run_dir)
    with pytest.raises(codex_obs.SettingError, match="status="):
        codex_obs.finish(status)  # type: ignore[arg-type]  # the point of the test
    assert not run.closed


def test_log_of_the_module_takes_what_log_of_a_run_takes() -> None:
    assert [*inspect.signature(codex_obs.log).parameters] == [*inspect.signature(codex_obs.Run.log).parameters][1:]
    assert [*inspect.signature(codex_obs.flush).parameters] == [*inspect.signature(codex_obs.Run.flush).parameters][1:]


def test_errors_of_log_come_through(run_dir: Path) -> None:
    with codex_obs.init(run_dir):
        with pytest.raises(TypeError):
            codex_obs.log([("a", 1)])  # type: ignore[arg-type]  # the point of the test
        with pytest.raises(TypeError):
            codex_obs.log({"a": 1}, step=1.0)  # type: ignore[arg-type]  # the point of the test
        with pytest.raises(ValueError, match="64"):
            codex_obs.log({"a": 1}, step=2**63)
    assert read_rows(run_dir) == []


@pytest.mark.parametrize("module", [codex_obs, codex_obs.testing])
def test_the_examples_in_docstrings_run(module: ModuleType, working_directory: Path) -> None:
    example = "".join(line[4:] for line in (module.__doc__ or "").splitlines(keepends=True) if line.startswith("    "))
    assert "run" in example

    def train(run: codex_obs.Run, epochs: int) -> None:
        for epoch in range(epochs):
            run.log({"loss": (0.5, 0.4)[epoch]})

    exec(example, {**vars(module), "train": train})
    assert (working_directory / "runs" / "demo" / "metrics.ndjson").exists() == (module is codex_obs)
