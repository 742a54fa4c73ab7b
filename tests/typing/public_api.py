"""What a type checker makes of the public names. Checked by mypy, never run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, assert_type

import polars as pl

import codex_obs
from codex_obs.testing import MemoryRun

if TYPE_CHECKING:
    from codex_obs.types import BoundLog, RunLike, SupportsLog


def opening_a_run() -> None:
    run = codex_obs.init("runs/demo", config={"lr": 3e-4}, backup_count="all", max_shard_bytes=None, rank=0)
    assert_type(run, codex_obs.Run)
    codex_obs.init(Path("runs/demo"), settings=codex_obs.Settings(fsync="never"))
    codex_obs.init(fsync="sometimes")  # type: ignore[arg-type]  # no such policy
    codex_obs.init(max_bytes=1)  # type: ignore[call-arg]  # no such setting
    codex_obs.init(5)  # type: ignore[arg-type]  # no path
    codex_obs.inti()  # type: ignore[attr-defined]  # no such name


def logging_to_a_run(run: codex_obs.Run) -> None:
    run.log({"loss": 0.5, "matrix": [[1]]}, step=1, split="eval", dataset=None, tags={"phase": "eval"}, timestamp=0.5)
    run.log({}, timestamp=dt.datetime.now(dt.UTC))
    run.log([("loss", 0.5)])  # type: ignore[arg-type]  # no mapping
    run.log({"loss": 0.5}, step=0.5)  # type: ignore[arg-type]  # no integer
    run.log({"loss": 0.5}, 1)
    run.log({"loss": 0.5}, 1, "eval")  # type: ignore[call-arg]  # keyword only
    assert_type(run.flush(1.0, sync=True), bool)
    assert_type(run.close(), bool)
    assert_type(run.stats(), dict[str, int])
    assert_type(run.config, Mapping[str, object])
    assert_type(run.path, Path)
    run.finish("done")  # type: ignore[arg-type]  # no such status


def logging_through_a_prepared_call(run: codex_obs.Run) -> BoundLog:
    log = run.bind("loss", "acc", split="eval", dataset=None, tags={"phase": "eval"})
    log(0.5, None, step=1, timestamp=0.5)
    log(0.5, 0.9, step=0.5)  # type: ignore[arg-type]  # no integer
    log(0.5, 0.9, split="eval")  # type: ignore[call-arg]  # bound before
    run.bind(1)  # type: ignore[arg-type]  # no text
    return log


def logging_an_event(run: codex_obs.Run) -> None:
    run.event("TRAINER", "an update", timesteps=2048, loss=0.5, ok=True)
    run.event("EVAL")
    run.event()  # type: ignore[call-arg]  # no category
    run.event("EVAL", "words", 5)  # type: ignore[call-arg]  # fields have names


def the_scope_of_a_run(run: codex_obs.Run) -> int:
    # A checker that took `with` for something that swallows exceptions would miss a return here.
    with run as same:
        assert_type(same, codex_obs.Run)
        return 1


def the_current_run() -> None:
    codex_obs.log({"loss": 0.5}, step=1)
    codex_obs.log_params({"lr": 0.1})
    codex_obs.event("TRAINER", "words", step=1, loss=0.5)
    assert_type(codex_obs.current_run(), codex_obs.Run | None)
    assert_type(codex_obs.flush(), bool)
    assert_type(codex_obs.finish("failed"), bool)


def doubles_fit_where_runs_do(run: codex_obs.Run) -> tuple[list[RunLike], list[SupportsLog]]:
    return [run, MemoryRun()], [run, MemoryRun()]


def settings_are_frozen(settings: codex_obs.Settings) -> None:
    settings.rank = 1  # type: ignore[misc]  # frozen
    assert_type(settings.max_shard_age_s, float | None)
    assert_type([variable.name for variable in codex_obs.env_vars()], list[str])


def reading_runs(run: codex_obs.Run) -> None:
    assert_type(codex_obs.payloads("runs/demo"), pl.DataFrame)
    assert_type(codex_obs.read([run, "runs/demo", Path("runs/other")]), pl.DataFrame)
    assert_type(codex_obs.scan(run), pl.LazyFrame)
    codex_obs.read(5)  # type: ignore[arg-type]  # no path
