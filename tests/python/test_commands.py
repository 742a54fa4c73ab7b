"""One application under three names, whose commands find a run in the same ways."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import codex_obs
from codex_obs import cli

SCRIPTS = Path(sysconfig.get_path("scripts"))
NAMES = {
    "codex-obs": [str(SCRIPTS / "codex-obs")],
    "codex-ndjson": [str(SCRIPTS / "codex-ndjson")],
    "python -m": [sys.executable, "-m", "codex_obs"],
}
COMMANDS = ("compare", "demo", "doctor", "export", "inspect", "recover", "runs", "summarize", "sync")
# What a command is about where that is no run.
NOUNS = {"doctor": "FOLDER", "runs": "FOLDER"}


def start(
    *arguments: str | Path, cwd: Path, name: str = "python -m", **environment: str
) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if key != "CODEX_OBS_RUN_DIR"}
    return subprocess.run(
        [*NAMES[name], *map(str, arguments)],
        cwd=cwd,
        env={**environ, "COLUMNS": "120", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        with codex_obs.init(tmp_path / "runs" / name) as run:
            run.log({"loss": 0.5}, 1)
    return tmp_path / "runs"


@pytest.mark.parametrize("name", NAMES)
def test_the_application_has_every_command_under_each_of_its_names(name: str, tmp_path: Path) -> None:
    done = start("--help", cwd=tmp_path, name=name)
    assert done.returncode == 0
    assert [command for command in COMMANDS if f"  {command} " in done.stdout] == list(COMMANDS)
    assert "--show-completion" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_gives_json(command: str, tmp_path: Path) -> None:
    done = start(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "--json" in done.stdout


@pytest.mark.parametrize("command", ["recover", "summarize"])
@pytest.mark.parametrize("named", ["argument", "option", "variable", "nothing"])
def test_a_run_is_an_argument_an_option_or_found(command: str, named: str, runs: Path) -> None:
    places: dict[str, list[str | Path]] = {"argument": [runs / "b"], "option": ["--input", runs / "b"]}
    place = places.get(named, [])
    environment = {"CODEX_OBS_RUN_DIR": str(runs / "b")} if named == "variable" else {}
    done = start(command, *place, "--json", cwd=runs / "b" if named == "nothing" else runs.parent, **environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    if command == "summarize":
        assert [(row["metric"], row["count"]) for row in found] == [("loss", 1)]
    else:
        assert isinstance(found, dict)
    doing = {"recover": "Recovering", "summarize": "Reading"}[command]
    assert done.stderr == {"variable": f"{doing} {runs / 'b'}\n", "nothing": f"{doing} .\n"}.get(named, "")


@pytest.mark.parametrize("command", ["recover", "summarize"])
def test_a_folder_of_runs_is_answered_with_the_runs(command: str, runs: Path) -> None:
    os.utime(runs / "a" / "metrics.ndjson", (0, 0))
    done = start(command, "runs", cwd=runs.parent)
    assert (done.returncode, done.stderr) == (2, "runs is a folder of runs: name one of them, runs/b or runs/a.\n")
    for index in range(7):
        (runs / f"c{index}").mkdir()
        (runs / f"c{index}" / "metrics.ndjson").touch()
    assert start(command, "runs", cwd=runs.parent).stderr.endswith(" or 4 more.\n")


def test_json_and_another_output_contradict_each_other(runs: Path) -> None:
    done = start("summarize", runs / "a", "--json", "--output", "csv", cwd=runs)
    assert done.returncode == 2
    assert "--json is short for --output json" in done.stderr


def test_a_run_and_a_file_without_a_row_are_exit_code_2_and_a_word_on_what_they_look_like(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.ndjson").write_text('{"step":1,"loss":0.5}\n')
    (tmp_path / "wide.ndjson").write_text('{"step":1,"loss":0.5}\n')
    for name in ("run", "wide.ndjson"):
        done = start("summarize", name, "--json", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "one object a step" in done.stderr
    assert not (tmp_path / "run" / "metrics_summary.csv").exists()


def test_an_empty_run_gives_an_empty_table(tmp_path: Path) -> None:
    codex_obs.init(tmp_path / "run").close()
    assert json.loads(start("summarize", "run", "--json", cwd=tmp_path).stdout) == []


@pytest.mark.parametrize("name", ["codex-obs", "codex-ndjson"])
def test_shells_complete_its_commands(name: str, tmp_path: Path) -> None:
    variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
    done = start(cwd=tmp_path, name=name, **{variable: "complete_bash", "COMP_WORDS": f"{name} su", "COMP_CWORD": "1"})
    assert done.stdout.split() == ["summarize"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_runs_as_arguments_and_as_input(command: str, tmp_path: Path) -> None:
    text = start(command, "--help", cwd=tmp_path).stdout
    assert NOUNS.get(command, "RUN") in text.partition("Options:")[0]
    assert "--input" in text


def test_recover_and_sync_take_several_runs_each_once(runs: Path) -> None:
    named = ["a", "--input", "b", "--input", str(runs / "a")]
    assert start("recover", *named, "--json", cwd=runs).returncode == 0
    done = start("sync", *named, "--uri", "http://127.0.0.1:9", "--dry-run", "--json", cwd=runs)
    assert done.returncode == 0, done.stderr
    assert [Path(one["directory"]).name for one in json.loads(done.stdout)] == ["a", "b"]


@pytest.mark.parametrize("text", ["\x1b[31mred\x07", "\u202eevil", "\x9b2J", "a\rb"])
@pytest.mark.parametrize(
    "place",
    [
        ["{}"],
        ["summarize", "--{}"],
        ["summarize", "--output", "{}"],
        ["demo", "run", "{}"],
        ["sync", "--export-ranks", "{}"],
    ],
)
def test_what_the_argument_parser_repeats_is_escaped(
    place: list[str], text: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["codex-obs", *(part.replace("{}", text) for part in place)])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    shown = capfd.readouterr()
    assert (raised.value.code, shown.out) == (2, "")
    assert "Usage: " in shown.err
    assert [line for line in shown.err.splitlines() if not line.isprintable()] == []
    # The parser itself escapes some, in one of two ways.
    assert re.search(r"(red|evil|2J|b)", shown.err.partition("Error:")[2])
