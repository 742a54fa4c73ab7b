"""Artifacts at destinations of other packages: each as it is, again once it was replaced, and all before the end."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft202012Validator

import codex_obs
from beside import DEADLINE_S, until
from codex_obs.destinations.base import Later, Never
from codex_obs.errors import CodexObsError
from codex_obs.testing import MemoryDestination, deliver
from command import start
from installed import install

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from codex_obs.destinations.base import Artifact, Point

MODULE = '''
import json, os, pathlib

FILE = pathlib.Path(os.environ["TAKEN"])

class Keeps:
    """Writes down what it is called with."""
    def open(self, run, state):
        self.state = state
        self.say("open", state)
    def say(self, *words):
        with FILE.open("a") as file:
            file.write(json.dumps(words) + "\\n")
    def points(self, stream, points): self.say("points", len(points))
    def artifacts(self, artifacts):
        self.say("artifacts", {each.name: each.path.read_text() for each in artifacts})
        return {"artifacts": len(artifacts)}
    def finish(self, status): self.say("finish", status)
'''
ENTRY_POINTS = "[codex_obs.destinations]\nkeeps = artifact_plugins:Keeps\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("artifacts"), "artifact_plugins", MODULE, ENTRY_POINTS)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_text("a")
    (folder / "sub" / "b").write_text("b")
    return folder


def logged(path: Path, source: Path) -> Path:
    with codex_obs.init(path) as run:
        run.log({"loss": 0.5})
        run.log_artifact(source)
    return path


def calls(taken: Path) -> list[list[object]]:
    return [json.loads(line) for line in taken.read_text().splitlines()] if taken.exists() else []


class Ordered(MemoryDestination):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def points(self, stream: str, points: Sequence[Point]) -> None:
        self.calls.append("points")
        super().points(stream, points)

    def artifacts(self, artifacts: Sequence[Artifact]) -> None:
        self.calls.append("artifacts")
        super().artifacts(artifacts)

    def finish(self, status: str) -> None:
        self.calls.append("finish")
        super().finish(status)


def test_each_is_delivered_once_and_again_when_it_was_replaced(tmp_path: Path, source: Path) -> None:
    path = logged(tmp_path / "run", source)
    taken = Ordered()
    deliver(path, taken)
    assert taken.files == {"out/a": b"a", "out/sub/b": b"b"}
    assert taken.calls == ["points", "artifacts", "finish"]
    again = Ordered()
    deliver(path, again)
    assert (again.files, again.calls) == ({}, [])
    (source / "a").write_text("newer")
    with codex_obs.init(path) as run:
        run.log_artifact(source / "a", "out/a")
    third = Ordered()
    deliver(path, third)
    assert (third.files, third.calls) == ({"out/a": b"newer"}, ["artifacts", "finish"])


def test_what_cannot_be_taken_now_holds_up_the_end_and_no_row(tmp_path: Path, source: Path) -> None:
    class Full(Ordered):
        def artifacts(self, artifacts: Sequence[Artifact]) -> None:
            raise Later(f"no room for {len(artifacts)}")

    path = logged(tmp_path / "run", source)
    full = Full()
    with pytest.raises(CodexObsError, match="no room for 2"):
        deliver(path, full)
    assert full.calls == ["points"]
    taken = Ordered()
    deliver(path, taken)
    assert (sorted(taken.files), taken.calls) == (["out/a", "out/sub/b"], ["artifacts", "finish"])


def test_a_refused_one_costs_no_other_one(tmp_path: Path, source: Path) -> None:
    class Picky(MemoryDestination):
        def artifacts(self, artifacts: Sequence[Artifact]) -> None:
            if any(each.name == "out/a" for each in artifacts):
                raise Never("a is bad")
            super().artifacts(artifacts)

    path = logged(tmp_path / "run", source)
    taken = Picky()
    deliver(path, taken)
    assert (taken.files, taken.status) == ({"out/sub/b": b"b"}, "finished")
    (line,) = [json.loads(line) for line in (path / "export_rejected.ndjson").read_text().splitlines()]
    told = ("memory", "artifact", "out/a", "a is bad", "1")
    assert tuple(line[key] for key in ("destination", "kind", "name", "reason", "value")) == told
    schema = json.loads((files("codex_obs") / "schemas" / "export_rejected.schema.json").read_text())
    assert list(Draft202012Validator(schema).iter_errors(line)) == []
    deliver(path, (again := Picky()))
    assert again.files == {}


def test_an_installed_plugin_gets_them_by_sync(site: Path, tmp_path: Path, source: Path) -> None:
    path = logged(tmp_path / "run", source)
    taken = tmp_path / "taken"
    done = start("sync", path, "--to", "keeps", cwd=tmp_path, PYTHONPATH=str(site), TAKEN=str(taken))
    assert (done.returncode, done.stderr) == (0, "")
    whole = ["artifacts", {"out/a": "a", "out/sub/b": "b"}]
    assert calls(taken) == [["open", {}], ["points", 1], whole, ["finish", "finished"]]
    done = start("sync", path, "--to", "keeps", cwd=tmp_path, PYTHONPATH=str(site), TAKEN=str(taken))
    assert done.returncode == 0
    assert calls(taken)[4:] == [["open", {"main": {"artifacts": 2}}]]


def test_an_installed_plugin_gets_them_while_the_run_goes_on(
    site: Path, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "taken"
    monkeypatch.setenv("TAKEN", str(taken))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    monkeypatch.syspath_prepend(str(site))
    with codex_obs.init(tmp_path / "run", destinations=["keeps"]) as run:
        run.log({"loss": 0.5})
        run.log_artifact(source / "a", "one")
        until(lambda: ["artifacts", {"one": "a"}] in calls(taken))
        run.log_artifact(source / "sub" / "b", "two")
        assert run.close(timeout=DEADLINE_S)
    until(lambda: ["finish", "finished"] in calls(taken))
    artifacts = [call for call in calls(taken) if call[0] == "artifacts"]
    assert artifacts == [["artifacts", {"one": "a"}], ["artifacts", {"two": "b"}]]
    assert calls(taken)[-1] == ["finish", "finished"]
