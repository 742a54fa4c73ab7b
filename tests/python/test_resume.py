"""What a directory that holds a run means to `init`, and what a bare `init` opens."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs

if TYPE_CHECKING:
    from pathlib import Path


def finished(directory: Path, **arguments: Any) -> str:
    with codex_obs.init(directory, **arguments) as run:
        run.log({"loss": 1.0})
        return run.run_id


def test_a_finished_run_is_continued_with_one_warning(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    run_id = finished(run_dir)
    assert caplog.messages == []
    with codex_obs.init(run_dir) as run:
        assert run.run_id == run_id
        (message,) = caplog.messages
        assert f"{run_dir} holds a run that finished at 20" in message
        assert all(choice in message for choice in ("resume='new'", "resume='never'", "resume='must'", "rewind_to"))


@pytest.mark.parametrize("status", ["failed", "killed"])
def test_a_run_that_did_not_finish_is_continued_without_a_word(
    status: Any, run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    codex_obs.init(run_dir).finish(status)
    codex_obs.init(run_dir)
    assert caplog.messages == []


def test_must_wants_a_run_and_says_nothing(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(codex_obs.ConflictError, match="holds no run to continue"):
        codex_obs.init(run_dir, resume="must")
    assert not run_dir.exists()
    run_id = finished(run_dir)
    with codex_obs.init(run_dir, resume="must") as run:
        assert run.run_id == run_id
    assert caplog.messages == []


def test_never_refuses_a_run(run_dir: Path) -> None:
    finished(run_dir, resume="never")
    before = sorted(path.name for path in run_dir.iterdir())
    with pytest.raises(codex_obs.ConflictError, match="resume='new'"):
        codex_obs.init(run_dir, resume="never")
    assert sorted(path.name for path in run_dir.iterdir()) == before


def test_new_takes_the_next_free_directory(run_dir: Path) -> None:
    assert finished(run_dir, resume="new")
    for number in (2, 3):
        with codex_obs.init(run_dir, resume="new") as run:
            assert (run.path.name, run.name) == (f"{run_dir.name}-{number}",) * 2
    with codex_obs.init(run_dir, resume="new") as one, codex_obs.init(run_dir, resume="new") as other:
        assert [one.path.name, other.path.name] == [f"{run_dir.name}-4", f"{run_dir.name}-5"], "also beside an open one"


def test_threads_that_want_new_runs_at_once_get_one_each(run_dir: Path) -> None:
    paths: list[Path] = []
    barrier = threading.Barrier(6)

    def open_it() -> None:
        barrier.wait()
        paths.append(codex_obs.init(run_dir, resume="new").path)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in paths) == ["run", *(f"run-{number}" for number in range(2, 7))]


def test_the_environment_chooses_and_the_argument_wins(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(run_dir)
    monkeypatch.setenv("CODEX_OBS_RESUME", "NEVER")
    with pytest.raises(codex_obs.ConflictError):
        codex_obs.init(run_dir)
    with codex_obs.init(run_dir, resume="must"):
        pass
    monkeypatch.setenv("CODEX_OBS_RESUME", "")
    with codex_obs.init(run_dir):
        pass
    monkeypatch.setenv("CODEX_OBS_RESUME", "sometimes")
    with pytest.raises(codex_obs.SettingError, match="CODEX_OBS_RESUME='sometimes' cannot be used"):
        codex_obs.init(run_dir)


@pytest.mark.parametrize("value", ["", "Allow", True, 1], ids=repr)
def test_what_is_no_choice_is_one_clear_error(value: Any, run_dir: Path) -> None:
    with pytest.raises(codex_obs.SettingError, match=r"^resume="):
        codex_obs.init(run_dir, resume=value)
    assert not run_dir.exists()


def test_an_open_run_is_the_same_whatever_resume_says(run_dir: Path) -> None:
    run = codex_obs.init(run_dir, resume="never")
    for resume in ("never", "must", "allow", None):
        assert codex_obs.init(run_dir, resume=resume) is run


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with codex_obs.init("~/a") as run:
        assert run.path == tmp_path / "a"
    monkeypatch.setenv("CODEX_OBS_RUN_DIR", "~/b")
    with codex_obs.init() as run:
        assert run.path == tmp_path / "b"


def test_a_run_is_called_as_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with codex_obs.init(tmp_path / "käse 1") as run:
        assert run.name == "käse 1"
    monkeypatch.chdir(tmp_path / "käse 1")
    with codex_obs.init(".") as run:
        assert run.name == "käse 1"


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=object))


@pytest.mark.usefixtures("notebook")
def test_a_bare_init_in_a_notebook_finishes_the_bare_run_before(working_directory: Path, run_dir: Path) -> None:
    named = codex_obs.init(run_dir)
    first = codex_obs.init()
    second = codex_obs.init()
    assert (first.closed, second.closed, named.closed) == (True, False, False)
    assert first.path != second.path
    assert (first.path / "run.ndjson").read_text().count('"status":"finished"') == 1
    assert codex_obs.current_run() is second
    assert codex_obs.init(second.path) is second
    assert len(list((working_directory / "runs").iterdir())) == 2


@pytest.mark.usefixtures("notebook", "working_directory")
@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_a_rank_that_is_left_over_in_a_notebook_holds_nothing_up(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    first = codex_obs.init()
    assert first.stream == "rank-1"
    assert codex_obs.init().path != first.path


def test_ipython_that_is_only_imported_is_no_notebook(working_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    first, second = codex_obs.init(), codex_obs.init()
    assert not first.closed
    assert {first.path, second.path} == set((working_directory / "runs").iterdir())
