"""A run name taken from text never leads out of ``runs``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = [
    "../../x", "..", ".", "/", "/etc", "/tmp/x", "a/b", "a/../../b", "./a", "a/", "//", "\0", "a\0b", "a\nb",
    "\x1b[31m", "a\tb", "\u202ecba", "\udc80", "x" * 256, "é" * 128, "\x7f", "\u2028",
]  # fmt: skip
FINE = [
    "a",
    "run-1",
    "...",
    "..a",
    "a..",
    "-rf",
    "~",
    "$HOME",
    "`id`",
    "a b",
    "käse",
    "日本",
    "x" * 255,
    "é" * 127,
    "\\",
    "C:",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_one_clear_error(name: str, working_directory: Path) -> None:
    with pytest.raises(codex_obs.SettingError) as caught:
        codex_obs.init(name=name)
    message = str(caught.value)
    assert message.startswith("name=")
    assert message.endswith("Give another name, or a run_dir.")
    assert message.isprintable()
    assert len(message) < 300
    assert list(working_directory.iterdir()) == []


@pytest.mark.parametrize("name", ["", 5, b"a", ["a"]])
def test_what_is_no_name_is_one_clear_error(name: Any, working_directory: Path) -> None:
    with pytest.raises(codex_obs.SettingError, match=r"^name="):
        codex_obs.init(name=name)
    assert list(working_directory.iterdir()) == []


@pytest.mark.parametrize("variable", ["TORCHELASTIC_RUN_ID", "SLURM_JOB_ID"])
@pytest.mark.parametrize("name", [name for name in HOSTILE if "\0" not in name])
def test_a_hostile_name_from_a_launcher_names_its_variable(
    variable: str, name: str, working_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, name)
    with pytest.raises(codex_obs.SettingError, match=f"^{variable}="):
        codex_obs.init()
    assert list(working_directory.iterdir()) == []


@pytest.mark.parametrize("name", FINE)
def test_other_names_are_folders_below_runs(name: str, working_directory: Path) -> None:
    with codex_obs.init(name=name) as run:
        assert run.path == working_directory / "runs" / name
        assert run.name == name
    assert [path.name for path in (working_directory / "runs").iterdir()] == [name]


def test_a_launcher_names_the_run_in_its_order(working_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    with codex_obs.init() as run:
        assert (run.name, run.path) == ("4711", working_directory / "runs" / "4711")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "elastic")
    with codex_obs.init() as run:
        assert run.name == "elastic"
    with codex_obs.init(name="mine") as run:
        assert run.name == "mine"


def test_without_a_name_it_is_time_and_four_hex_digits(working_directory: Path) -> None:
    with codex_obs.init() as one, codex_obs.init() as other:
        assert one is not other
        assert re.fullmatch(r"20[0-9]{6}T[0-9]{6}Z-[0-9a-f]{4}", one.name)
        assert {one.path, other.path} == set((working_directory / "runs").iterdir())


def test_many_runs_of_one_second_get_folders_of_their_own(
    working_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter(["taken", "taken", "taken", "free"])
    monkeypatch.setattr("codex_obs._place._draw_name", lambda: next(drawn))
    with codex_obs.init() as one, codex_obs.init() as other:
        assert (one.name, other.name) == ("taken", "free")
    assert len(list((working_directory / "runs").iterdir())) == 2


def test_a_name_beside_a_directory_is_only_a_label(run_dir: Path) -> None:
    with codex_obs.init(run_dir, name="../../x") as run:
        assert (run.name, run.path) == ("../../x", run_dir)
    with codex_obs.init(run_dir, name="another") as run:
        assert run.name == "../../x", "a run keeps its name"


def test_a_file_called_runs_is_named(working_directory: Path) -> None:
    (working_directory / "runs").write_text("")
    with pytest.raises(codex_obs.LogFileError, match="there is a file of that name"):
        codex_obs.init()
