"""Plugins of a package that is really installed, and of ones that do not work."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from command import start

if TYPE_CHECKING:
    from pathlib import Path

MODULE = """
class Whole:
    def open(self, run, state): ...
    def points(self, stream, points): ...
    def finish(self, status): ...

class Lacking:
    def open(self, run, state): ...

class Asking:
    def __init__(self, key): ...
    def sample(self): ...

class Narrow:
    def can_read(self): ...
    def rows(self, path): ...

class Reader:
    def can_read(self, path): ...
    def rows(self, path, *, more=None): ...

number = 3
"""
ENTRY_POINTS = """[codex_obs.destinations]
whole = example_plugins:Whole
lacking = example_plugins:Lacking
number = example_plugins:number
nowhere = example_plugins:Missing
[codex_obs.samplers]
asking = example_plugins:Asking
exits = example_exits:Sampler
[codex_obs.readers]
narrow = example_plugins:Narrow
reader = example_plugins:Reader
unreadable = example_syntax:Reader
"""
FILES = {
    "example_plugins.py": MODULE,
    "example_exits.py": "raise SystemExit('\\x1b[31mgone')\n",
    "example_syntax.py": "def broken(:\n",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install an example package with pip, into a folder of its own."""
    folder = tmp_path_factory.mktemp("plugins")
    wheel = folder / "example_plugins-1.2-py3-none-any.whl"
    info = "example_plugins-1.2.dist-info"
    meta = {
        "METADATA": "Metadata-Version: 2.1\nName: example-plugins\nVersion: 1.2\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "entry_points.txt": ENTRY_POINTS,
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        names = {**FILES, **{f"{info}/{name}": text for name, text in meta.items()}}
        for name, text in names.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in [*names, f"{info}/RECORD"]))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run([*command, "--target", str(folder / "site"), str(wheel)], check=True, timeout=120)
    return folder / "site"


def test_installed_plugins_are_listed_without_importing_them(installed: Path, tmp_path: Path) -> None:
    done = start("plugins", "list", "--json", cwd=tmp_path, PYTHONPATH=str(installed))
    assert (done.returncode, done.stderr) == (0, "")
    found = [
        (one["group"], one["name"], one["value"], one["package"], one["version"]) for one in json.loads(done.stdout)
    ]
    assert ("codex_obs.destinations", "whole", "example_plugins:Whole", "example-plugins", "1.2") in found
    assert len(found) == 9
    done = start("plugins", "list", "readers", cwd=tmp_path, on_terminal=True, PYTHONPATH=str(installed))
    assert [line.split()[:2] for line in done.stdout.splitlines()[2:]] == [
        ["readers", "narrow"], ["readers", "reader"], ["readers", "unreadable"],
    ]  # fmt: skip


def test_one_that_cannot_be_used_is_a_line_and_no_crash(installed: Path, tmp_path: Path) -> None:
    done = start("plugins", "diagnose", "--json", cwd=tmp_path, PYTHONPATH=str(installed))
    assert (done.returncode, done.stderr) == (1, "")
    problems = {one["name"]: one["problem"] for one in json.loads(done.stdout)}
    assert problems == {
        "whole": "",
        "reader": "",
        "lacking": "it has no points(stream, points)",
        "number": "it is no class, but int",
        "nowhere": problems["nowhere"],
        "asking": "it cannot be made without arguments",
        "exits": "importing it raised SystemExit: \x1b[31mgone",
        "narrow": "can_read does not take the arguments of can_read(path)",
        "unreadable": problems["unreadable"],
    }
    assert "AttributeError" in problems["nowhere"]
    assert "SyntaxError" in problems["unreadable"]
    done = start("plugins", "diagnose", cwd=tmp_path, on_terminal=True, PYTHONPATH=str(installed))
    assert (done.returncode, "\x1b" in done.stdout) == (1, False)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "can be used, has open, points, finish" in " ".join(done.stdout.split())


def test_without_a_plugin_it_is_said_what_one_is(tmp_path: Path) -> None:
    for command in ("list", "diagnose"):
        done = start("plugins", command, "destinations", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "")
        assert "plugins explain" in done.stderr
        assert start("plugins", command, "--json", cwd=tmp_path).stdout == "[]\n"


def test_every_group_is_explained(tmp_path: Path) -> None:
    groups = json.loads(start("plugins", "explain", "--json", cwd=tmp_path).stdout)
    assert [group["name"] for group in groups] == [
        "codex_obs.destinations", "codex_obs.samplers", "codex_obs.readers",
    ]  # fmt: skip
    done = start("plugins", "explain", "destinations", cwd=tmp_path, on_terminal=True)
    assert '[project.entry-points."codex_obs.destinations"]' in done.stdout
    assert "points(stream, points)" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_group_that_there_is_none_of_is_exit_code_2(tmp_path: Path) -> None:
    for command in ("list", "explain", "diagnose"):
        done = start("plugins", command, "writers", cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
