"""Destinations of another package, really installed: what they are handed, what they answer, what a kill costs."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft202012Validator

import codex_obs
from codex_obs import _backend
from codex_obs.destinations.base import Later, Never
from codex_obs.errors import CodexObsError
from codex_obs.testing import MemoryDestination, deliver
from command import start
from installed import install

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from codex_obs.destinations.base import Point, RunFacts, Value

MODULE = '''
import json, os, pathlib, time

FILE = pathlib.Path(os.environ["TAKEN"])

class Whole:
    """Keeps its state: cuts the file to it."""
    def open(self, run, state):
        self.file = FILE.open("ab")
        self.file.truncate(state.get("main", {"length": 0})["length"])
        self.file.seek(0, 2)
    def points(self, stream, points):
        for point in points:
            self.file.write(f"{point.metric} {point.step}\\n".encode())
        self.file.flush()
        time.sleep(0.002)
        return {"length": self.file.tell()}

class Forgetful:
    """Keeps nothing."""
    def open(self, run, state): self.file = FILE.open("ab")
    def points(self, stream, points):
        for point in points:
            self.file.write(f"{point.metric} {point.step}\\n".encode())
        self.file.flush()
        time.sleep(0.002)

class Stateful:
    """Returns what cannot be noted."""
    def open(self, run, state): self.file = FILE.open("ab")
    def points(self, stream, points):
        self.file.write("".join(f"{point.metric} {point.step}\\n" for point in points).encode())
        self.file.flush()
        return object()

class Hangs:
    def open(self, run, state): ...
    def points(self, stream, points): time.sleep(3600)

class Dies:
    def open(self, run, state): ...
    def points(self, stream, points): os._exit(7)
'''
ENTRY_POINTS = """[codex_obs.destinations]
whole = destination_plugins:Whole
forgetful = destination_plugins:Forgetful
stateful = destination_plugins:Stateful
hangs = destination_plugins:Hangs
dies = destination_plugins:Dies
missing = destination_plugins:Missing
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An example package."""
    folder = tmp_path_factory.mktemp("destinations")
    return install(folder, "destination_plugins", MODULE, ENTRY_POINTS)


def sync(path: Path, *arguments: str, site: Path) -> subprocess.CompletedProcess[str]:
    """Deliver a run to a plugin, which writes to the file `taken` beside it."""
    taken = str(path.parent / "taken")
    return start("sync", path, *arguments, cwd=path.parent, PYTHONPATH=str(site), TAKEN=taken)


def logged(path: Path, steps: int) -> Path:
    with codex_obs.init(path, config={"opt": {"lr": 0.1}}) as run:
        for step in range(steps):
            run.log({"loss": float(step)}, step=step)
    return path


class Answering(MemoryDestination):
    """One that asks a function before it takes points."""

    def __init__(self, ask: Callable[[Sequence[Point]], object]) -> None:
        super().__init__()
        self.ask = ask

    def points(self, stream: str, points: Sequence[Point]) -> object:  # type: ignore[override]
        given = self.ask(points)
        super().points(stream, points)
        return given


def test_a_plugin_that_wants_every_kind_gets_every_kind_in_order(tmp_path: Path) -> None:
    class Wanting(MemoryDestination):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[str] = []
            self.seen_spans: list[object] = []
            self.seen_samples: list[object] = []

        def points(self, stream: str, points: Sequence[Point]) -> None:
            self.calls += [f"{point.metric}{point.step}" for point in points]
            super().points(stream, points)

        def values(self, stream: str, values: Sequence[Value]) -> None:
            assert stream == "main"
            self.calls += [f"{value.metric}{value.step}" for value in values]

        def spans(self, stream: str, spans: Sequence[object]) -> None:
            assert stream == "main"
            self.seen_spans += spans

        def samples(self, samples: Sequence[object]) -> None:
            self.seen_samples += samples

    path = tmp_path / "run"
    with codex_obs.init(path, config={"opt": {"lr": 0.1}}) as run:
        for step in range(3):
            run.log({"a": step, "h": [1, 2], "b": float("inf")}, step=step, tags={"k": [step]}, dataset="d")
        run.event("ACTOR", "no step", fps=1.0)
    (path / "telemetry.ndjson").write_text('{"event":"turn.start"}\nno span\n{"event":"turn.stop"}\n')
    (path / "system_metrics.jsonl").write_text('{"cpu_percent":3.5}\n')
    taken = Wanting()
    deliver(path, taken)
    assert taken.calls == ["a0", "h0", "b0", "a1", "h1", "b1", "a2", "h2", "b2"]
    (first, *_) = taken.points_by_stream["main"]
    assert (first.split, first.value, first.dataset, first.tags) == ("train", 0.0, "d", {"k": [0]})
    assert taken.seen_spans == [{"event": "turn.start"}, {"event": "turn.stop"}]
    assert taken.seen_samples == [{"cpu_percent": 3.5}]
    assert (taken.parameters, taken.status) == ({"opt/lr": "0.1"}, "finished")
    again = Wanting()
    deliver(path, again)
    assert (again.calls, again.seen_spans, again.seen_samples, again.status) == ([], [], [], None)


def test_what_a_plugin_returns_comes_back_when_it_is_opened_again(tmp_path: Path) -> None:
    path = logged(tmp_path / "run", 3)
    deliver(path, Answering(lambda points: {"taken": len(points), "last": [points[-1].step]}))
    logged(path, 5)
    again = Answering(lambda _: None)
    deliver(path, again)
    assert again.state == {"main": {"taken": 3, "last": [2]}}
    third = Answering(lambda _: None)
    deliver(path, third)
    assert third.state == {"main": {"taken": 3, "last": [2]}}, "None leaves what was there"


def test_a_refused_row_costs_no_other_one(tmp_path: Path) -> None:
    path = logged(tmp_path / "run", 500)
    bad = {0, 17, 18, 499}

    def ask(points: Sequence[Point]) -> None:
        found = [point.step for point in points if point.step in bad]
        if found:
            raise Never(f"step {found[0]} is bad")

    taken = Answering(ask)
    deliver(path, taken)
    steps = [point.step for point in taken.points_by_stream["main"]]
    assert steps == [step for step in range(500) if step not in bad]
    lines = [json.loads(line) for line in (path / "export_rejected.ndjson").read_text().splitlines()]
    assert {(line["destination"], line["remote_run"], line["status"]) for line in lines} == {("memory", None, None)}
    schema = json.loads((files("codex_obs") / "schemas" / "export_rejected.schema.json").read_text())
    assert [error for line in lines for error in Draft202012Validator(schema).iter_errors(line)] == []
    assert [(line["step"], line["reason"]) for line in lines] == [(step, f"step {step} is bad") for step in sorted(bad)]


@pytest.mark.parametrize("error", [Later("the disk is full", after_s=0.01), OSError("no route"), KeyError("x")])
def test_what_is_not_taken_now_is_handed_over_again(error: Exception, tmp_path: Path) -> None:
    path = logged(tmp_path / "run", 20)
    asked: list[int] = []

    def ask(points: Sequence[Point]) -> None:
        asked.append(len(points))
        if len(asked) == 1:
            raise error

    taken = Answering(ask)
    while not taken.points_by_stream:
        with contextlib.suppress(CodexObsError):  # one that asks for patience is handed the same within the delivery
            deliver(path, taken)
    assert asked == [20, 20]
    assert [point.step for point in taken.points_by_stream["main"]] == list(range(20))


def test_never_from_open_ends_the_delivery_with_its_words(tmp_path: Path) -> None:
    class Closed(MemoryDestination):
        def open(self, run: RunFacts, state: Mapping[str, object]) -> None:
            assert not state
            raise Never(f"no account for {run.name}: sign up first")

    with pytest.raises(CodexObsError, match="no account for run: sign up first"):
        deliver(logged(tmp_path / "run", 3), Closed())


@pytest.mark.parametrize("after_s", [1e19, 1e300, float("inf")])
def test_a_pause_beyond_all_clocks_is_cut(after_s: float, tmp_path: Path) -> None:
    def ask(_: object) -> None:
        raise Later("down", after_s=after_s)

    with pytest.raises(CodexObsError, match="stream main: down"):
        deliver(logged(tmp_path / "run", 1), Answering(ask))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({1, 2}, "returned as its state is not JSON: TypeError"),
        ("x" * 300_000, "state has 300002 bytes, more than 262144"),
    ],
    ids=["no JSON", "too long"],
)
def test_a_state_that_cannot_be_noted_ends_the_delivery_and_refuses_no_row(
    state: object, words: str, tmp_path: Path
) -> None:
    path = logged(tmp_path / "run", 1)
    with pytest.raises(CodexObsError, match=words):
        deliver(path, Answering(lambda _: state))
    assert not (path / "export_rejected.ndjson").exists()
    again = Answering(lambda _: "x" * 200_000)
    deliver(path, again)
    deliver(path, (third := Answering(lambda _: None)))
    assert (len(again.points_by_stream["main"]), third.points_by_stream) == (1, {})


def test_a_state_that_cannot_be_noted_gets_no_row_twice(installed: Path, tmp_path: Path) -> None:
    path = logged(tmp_path / "run", 3)
    done = sync(path, "--to", "stateful", "--patience", "5", site=installed)
    assert done.returncode == 1
    assert "what the plugin stateful returned as its state is not JSON" in done.stderr
    assert (tmp_path / "taken").read_text() == "loss 0\nloss 1\nloss 2\n"


def test_integers_that_python_does_not_read_hold_nothing_up(tmp_path: Path) -> None:
    class Wanting(MemoryDestination):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[str, object]] = []

        def values(self, stream: str, values: Sequence[Value]) -> None:
            assert stream == "main"
            self.seen += [(value.metric, value.payload) for value in values]

        def spans(self, stream: str, spans: Sequence[object]) -> None:
            assert stream == "main"
            self.seen += [("span", span) for span in spans]

    path, digits = tmp_path / "run", "1" + 5000 * "0"
    with codex_obs.init(path) as run:
        run.log({"loss": 0.0}, step=0)
        run.log({"loss": 1.0}, step=1, tags={"n": 10**5000})
        run.log({"list": [7, 10**5000]}, step=2)
    (path / "telemetry.ndjson").write_text(f'{{"n":{digits}}}\n{{"n":1}}\n')
    taken = Wanting()
    deliver(path, taken)
    assert [point.tags for point in taken.points_by_stream["main"]] == [{}, {"n": digits}]
    assert taken.seen == [("span", {"n": digits}), ("span", {"n": 1}), ("list", [7, digits])]


@pytest.mark.parametrize("other", ["spans", "samples", "params"])
def test_what_a_part_gave_to_be_kept_is_kept_with_the_whole_batch_only(other: str, tmp_path: Path) -> None:
    class Halting(MemoryDestination):
        """Takes numbers; values only once it is up."""

        def __init__(self, *, is_up: bool) -> None:
            super().__init__()
            self.is_up = is_up
            self.taken: list[str] = []

        def points(self, stream: str, points: Sequence[Point]) -> object:  # type: ignore[override]
            assert stream == "main"
            self.taken += [f"{point.metric}{point.step}" for point in points]
            return {"taken": len(self.taken)}

        def values(self, stream: str, _values: Sequence[Value]) -> object:  # type: ignore[override]
            if not self.is_up:
                # Something else of the stream comes while the batch waits.
                name, line = {
                    "params": ("params.ndjson", {"config": {"late": 1}}),
                    "spans": ("telemetry.ndjson", {"n": 1}),
                    "samples": ("system_metrics.jsonl", {"n": 1}),
                }[other]
                with (path / name).open("a") as file:
                    file.write(f"{json.dumps(line)}\n")
                raise Later("down", after_s=0.01)
            return self.points(stream, [])

        def spans(self, stream: str, spans: Sequence[object]) -> None: ...

        def samples(self, samples: Sequence[object]) -> None: ...

    path = tmp_path / "run"
    with codex_obs.init(path) as run:
        run.log({"a": 0.0}, step=0)
        run.log({"h": [1, 2]}, step=1)
        run.log({"a": 2.0}, step=2)
    waited = Halting(is_up=False)
    looks = 0

    def is_patient(_: object) -> bool:
        nonlocal looks
        looks += 1
        return looks < 30

    handed = _backend.Destination.plugin("memory", lambda: waited, ranks="main")
    _backend.sync(str(path), handed, progress=is_patient)
    assert waited.taken == ["a0"]
    again = Halting(is_up=True)
    deliver(path, again)
    assert (again.state, again.taken) == ({}, ["a0", "a2"])


def test_progress_of_a_newer_version_stops_with_a_remedy(tmp_path: Path) -> None:
    path = logged(tmp_path / "run", 3)
    deliver(path, MemoryDestination())
    (progress,) = (path / ".codex_obs").glob("export-main-*.json")
    progress.write_text(progress.read_text().replace('"version":2', '"version":3'))
    with pytest.raises(CodexObsError, match=r"written by a newer version of codex_obs: upgrade codex_obs"):
        deliver(path, MemoryDestination())


def test_an_installed_plugin_takes_a_run(installed: Path, tmp_path: Path) -> None:
    path = logged(tmp_path / "run", 7)
    done = sync(path, "--to", "whole", site=installed)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: 7 points delivered to whole\n", "")
    assert (tmp_path / "taken").read_text() == "".join(f"loss {step}\n" for step in range(7))
    done = sync(path, "--to", "whole", site=installed)
    assert done.stdout == f"{path}: nothing new for whole\n"
    done = sync(path, "--to", "whole", "--uri", "http://h", site=installed)
    assert (done.returncode, done.stderr) == (2, "--uri is for MLflow: leave it out with --to whole.\n")
    done = sync(path, "--to", "missing", site=installed)
    assert done.returncode == 2
    assert "the destination 'missing' cannot be imported: AttributeError" in done.stderr


def test_a_plugin_that_hangs_or_dies_costs_no_row(installed: Path, tmp_path: Path) -> None:
    path = logged(tmp_path / "run", 7)
    done = sync(path, "--to", "hangs", "--patience", "0.5", site=installed)
    assert done.returncode == 1
    assert "gave up after" in done.stderr
    assert sync(path, "--to", "dies", site=installed).returncode == 7
    done = sync(path, "--to", "whole", site=installed)
    assert done.stdout == f"{path}: 7 points delivered to whole\n"


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.big)])
@pytest.mark.parametrize("name", ["whole", "forgetful"])
def test_kills_at_random_moments_lose_no_row(name: str, kills: int, installed: Path, tmp_path: Path) -> None:
    rows = 3000
    path = logged(tmp_path / "run", rows)
    taken = tmp_path / "taken"
    environment = {
        **os.environ,
        "PYTHONPATH": str(installed),
        "TAKEN": str(taken),
        "CODEX_OBS_EXPORT_FLUSH_METRICS": "5",
    }
    command = [sys.executable, "-m", "codex_obs", "sync", str(path), "--to", name]
    draw = random.Random(kills)
    for _ in range(kills):
        running = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL)
        # Later than its start, which takes most of the time: as soon as it has taken something more.
        size = taken.stat().st_size if taken.exists() else 0
        deadline = time.monotonic() + 60
        while running.poll() is None and time.monotonic() < deadline:
            if (taken.stat().st_size if taken.exists() else 0) != size:
                break
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.004))
        running.send_signal(signal.SIGKILL)
        running.wait(timeout=60)
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=120)
    lines = taken.read_text().splitlines()
    expected = [f"loss {step}" for step in range(rows)]
    if name == "whole":
        assert lines == expected
    else:
        assert list(dict.fromkeys(lines)) == expected
