"""Two trainings that choose one folder at the same moment, where nothing keeps them apart: one creates the run."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

import codex_obs
from codex_obs import _backend, _names, _place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OTHER = """
import sys, codex_obs
run = codex_obs.init(sys.argv[1])
run.log({"other": 1.0}, step=0)
run.flush()
print(run.run_id, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Give what another training does between this one's look at a folder and its own creation of the run there."""
    looked = _backend.run_state
    others: list[subprocess.Popen[str]] = []

    def begin(directory: Path) -> None:
        def look(path: str) -> object:
            if path == str(directory) and not others:
                other = subprocess.Popen(
                    [sys.executable, "-c", OTHER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
                others.append(other)
                assert other.stdout is not None
                other.stdout.readline()
                return None
            return looked(path)

        monkeypatch.setattr(_backend, "run_state", look)
        monkeypatch.setattr(_place, "_locked", lambda _folder: nullcontext())

    yield begin
    for other in others:
        other.communicate("\n", timeout=60)


def streams(directory: Path) -> list[str]:
    return sorted(set(codex_obs.read(directory)["stream"].cast(str)))


@pytest.mark.parametrize("variable", ["TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "PMIX_NAMESPACE"])
def test_the_loser_of_a_name_goes_on_to_the_suffix(
    variable: str, working_directory: Path, unseen: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "77")
    unseen(working_directory / "runs" / "77")
    with codex_obs.init() as run:
        run.log({"own": 1.0}, step=0)
    assert run.path == working_directory / "runs" / "77-2"
    assert streams(working_directory / "runs" / "77") == streams(run.path) == ["main"]


def test_a_new_run_beside_a_directory_is_never_another_s(tmp_path: Path, unseen: Callable[[Path], None]) -> None:
    unseen(tmp_path / "given")
    with codex_obs.init(tmp_path / "given", resume="new") as run:
        assert run.path == tmp_path / "given-2"


def test_a_run_that_came_in_between_is_refused_where_none_is_wanted(
    tmp_path: Path, unseen: Callable[[Path], None]
) -> None:
    unseen(tmp_path / "given")
    with pytest.raises(codex_obs.ConflictError, match="resume='never' refuses one"):
        codex_obs.init(tmp_path / "given", resume="never")


def test_a_directory_that_may_be_continued_is_shared(tmp_path: Path, unseen: Callable[[Path], None]) -> None:
    unseen(tmp_path / "given")
    with codex_obs.init(tmp_path / "given") as run:
        assert run.path == tmp_path / "given"
        assert run.stream.startswith("pid-")


def test_a_run_id_that_is_given_is_the_user_s_word(tmp_path: Path, unseen: Callable[[Path], None]) -> None:
    unseen(tmp_path / "given")
    with pytest.raises(codex_obs.ConflictError, match="mine"):
        codex_obs.init(tmp_path / "given", resume="never", run_id="mine")


def test_identities_are_random_uuids() -> None:
    drawn = {_names.new_run_id() for _ in range(1000)}
    assert len(drawn) == 1000
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) for text in drawn)
    assert {(uuid.UUID(text).version, uuid.UUID(text).variant) for text in drawn} == {(4, uuid.RFC_4122)}
