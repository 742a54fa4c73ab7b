"""Workers log to the run of their parent however they are started."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from children import run_in_child, wait

if TYPE_CHECKING:
    from pathlib import Path

WORKERS = 3
PROGRAM = textwrap.dedent(
    """
    import multiprocessing, sys, threading
    import codex_obs

    def work(number):
        for step in range(5):
            codex_obs.log({"item": number}, step=step)
        assert codex_obs.current_run().name == sys.argv[3]

    def closes(number):
        codex_obs.log({"item": number})
        codex_obs.finish()
        try:
            codex_obs.log({"item": -1})
        except codex_obs.NoActiveRunError:
            return
        raise AssertionError("a closed run was opened again")

    def grandparent(number):
        child = multiprocessing.get_context(sys.argv[2]).Process(target=work, args=(number,))
        child.start()
        child.join()
        assert child.exitcode == 0

    def start(target):
        context = multiprocessing.get_context(sys.argv[2])
        workers = [context.Process(target=target, args=(number,)) for number in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0

    if __name__ == "__main__":
        directory = sys.argv[1]
        with codex_obs.init(directory + "/run", fsync="never"):
            with codex_obs.init(directory + "/other", fsync="never"):
                pass
            start(TARGET)
    """
)


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
@pytest.mark.parametrize("target", ["work", "closes", "grandparent"])
def test_a_worker_logs_to_its_parents_run(tmp_path: Path, method: str, target: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("TARGET", target))
    arguments = [sys.executable, str(program), str(tmp_path), method, "run"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    rows = codex_obs.read(tmp_path / "run")
    each = 1 if target == "closes" else 5
    assert sorted(rows["value"].to_list()) == sorted([float(number) for number in range(WORKERS)] * each)
    assert "main" not in rows["stream"].cast(str).to_list()
    assert rows["run_id"].n_unique() == 1
    assert codex_obs.read(tmp_path / "other").height == 0


def test_nothing_secret_is_handed_to_workers(tmp_path: Path) -> None:
    this: Any = multiprocessing.current_process()
    before = this._config
    try:
        with codex_obs.init(tmp_path / "run", mlflow_tracking_uri="http://user:hunter2@127.0.0.1:9"):
            handed = this._config.copy()
            assert type(handed) is dict
            assert str(tmp_path) in handed["codex_obs"]
            assert "hunter2" not in handed["codex_obs"]
        assert "codex_obs" not in this._config.copy()
    finally:
        this._config = before


def streams(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.name.startswith("metrics.pid-")}


def test_workers_that_live_have_a_stream_each_and_never_their_parents(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "run", fsync="never") as run:

        def work() -> None:
            codex_obs.log({"item": 1.0}, step=0)
            child = os.fork()
            if child == 0:
                codex_obs.log({"item": 2.0}, step=0)
                os._exit(0)
            assert wait(child) == 0
            run.close()

        run_in_child(work)
        assert len(streams(tmp_path / "run")) == 2
    assert not (tmp_path / "run" / "metrics.ndjson").read_text()
