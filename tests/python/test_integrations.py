"""What integrations share: names that tell a split, the run that is written, and a framework that is missing."""

from __future__ import annotations

import asyncio
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from codex_obs._splits import by_split
from codex_obs.integrations._needed import needed
from codex_obs.integrations._target import Target, make

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"loss": 1, "val_loss": 2}, {"train": {"loss": 1}, "val": {"loss": 2}}),
        ({"eval/mean_reward": 1, "test_acc": 2}, {"eval": {"mean_reward": 1}, "test": {"acc": 2}}),
        ({"train_loss_step": 1, "validation/f1": 2}, {"train": {"loss_step": 1}, "validation": {"f1": 2}}),
        ({"val": 1, "val_": 2, "/x": 3, "value_loss": 4}, {"train": {"val": 1, "val_": 2, "/x": 3, "value_loss": 4}}),
        ({"train_loss": 1, "loss": 2}, {"train": {"train_loss": 1, "loss": 2}}),
        ({"loss": 1, "train_loss": 2}, {"train": {"loss": 1, "train_loss": 2}}),
        ({"val_loss": 1, "val/loss": 2}, {"val": {"loss": 1, "val/loss": 2}}),
        ({"rollout/ep_rew_mean": 1}, {"train": {"rollout/ep_rew_mean": 1}}),
        ({}, {}),
    ],
    ids=repr,
)
def test_names_tell_their_split(values: dict[str, object], expected: dict[str, dict[str, object]]) -> None:
    assert by_split(values) == expected


def test_every_folder_is_a_split_where_that_is_the_habit() -> None:
    values = {"rollout/ep_rew_mean": 1, "train/loss": 2, "time/fps": 3, "x": 4}
    assert by_split(values, any_folder=True) == {
        "rollout": {"ep_rew_mean": 1},
        "train": {"loss": 2, "x": 4},
        "time": {"fps": 3},
    }


def test_a_framework_that_is_missing_is_named_with_its_extra() -> None:
    with pytest.raises(
        ModuleNotFoundError, match=r"^nothing_like_it is not installed: pip install 'codex-obs\[none\]'$"
    ):
        needed("nothing_like_it", extra="none")


def test_a_run_and_arguments_for_one_do_not_go_together(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run, pytest.raises(TypeError, match="give run= or name=, not both"):
        make(run, {"name": "x"})


def test_the_directory_of_the_user_s_own_run_is_the_user_s_run(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        target = make(None, {"run_dir": run_dir})
        assert target.open({"lr": 1}) is run
        target.close()
        assert not run.closed
        assert run.config == {"lr": 1}


def test_rows_after_the_end_are_counted_as_dropped(run_dir: Path) -> None:
    target = make(None, {"run_dir": run_dir})
    run = target.open()
    assert run is not None
    assert codex_obs.current_run() is run
    target.close("failed")
    target.log({"train": {"loss": 1}}, 0)
    assert (run.closed, run.stats()["rows_dropped_closed"]) == (True, 1)


def test_threads_that_begin_at_once_open_one_run(working_directory: Path) -> None:
    target, barrier, found = make(None, {"tags": {"a": 1}}), threading.Barrier(8), []

    def first() -> None:
        barrier.wait()
        found.append(target.open())

    threads = [threading.Thread(target=first) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    assert len(list((working_directory / "runs").iterdir())) == 1
    target.close()


def test_a_pickle_of_it_writes_the_same_run_and_closes_nothing(run_dir: Path) -> None:
    target = make(None, {"run_dir": run_dir})
    run = target.open()
    copy: Target = pickle.loads(pickle.dumps(target))
    assert copy.open() is run
    copy.close()
    assert run is not None
    assert not run.closed
    target.close()


def test_with_makes_a_run_the_current_one_of_its_thread_only(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def train(number: int) -> None:
        with codex_obs.init(tmp_path / str(number), fsync="never"):
            barrier.wait()
            for _ in range(50):
                codex_obs.log({"number": number})
            barrier.wait()

    threads = [threading.Thread(target=train, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(8):
        assert codex_obs.read(tmp_path / str(number))["value"].to_list() == [float(number)] * 50


def test_tasks_log_into_their_own_runs(tmp_path: Path) -> None:
    async def train(number: int) -> None:
        with codex_obs.init(tmp_path / str(number), fsync="never"):
            for _ in range(10):
                await asyncio.sleep(0)
                codex_obs.log({"number": number})

    async def all_of_them() -> None:
        await asyncio.gather(*(train(number) for number in range(4)))

    asyncio.run(all_of_them())
    for number in range(4):
        assert codex_obs.read(tmp_path / str(number))["value"].to_list() == [float(number)] * 10


def test_a_further_init_inside_of_with_is_current_until_it_is_closed(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "outer") as outer:
        inner = codex_obs.init(tmp_path / "inner")
        assert codex_obs.current_run() is inner
        inner.close()
        assert codex_obs.current_run() is outer
    assert codex_obs.current_run() is None


def test_another_thread_sees_the_run_that_was_opened_last(tmp_path: Path) -> None:
    seen: list[Any] = []
    with codex_obs.init(tmp_path / "first"):
        second = codex_obs.init(tmp_path / "second")
        thread = threading.Thread(target=lambda: seen.append(codex_obs.current_run()))
        thread.start()
        thread.join()
        second.close()
    assert seen == [second]
