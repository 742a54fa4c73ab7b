"""Trainers with a process beside them, and the destinations of another package that it delivers to."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from command import start

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE_S = 60.0
MODULE = '''
import json, os, pathlib, sys, time

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
        return {"length": self.file.tell()}
    def finish(self, status): FILE.with_name("status").write_text(status)

class Apart(Whole):
    """A file a stream, each cut to its own state."""
    def open(self, run, state):
        self.files, self.lengths = {}, {stream: of["length"] for stream, of in state.items()}
    def points(self, stream, points):
        if stream not in self.files:
            self.files[stream] = FILE.with_name(f"taken-{stream}").open("ab")
            self.files[stream].truncate(self.lengths.get(stream, 0))
        self.file = self.files[stream]
        return super().points(stream, points)

class Facts(Whole):
    """Says what kind of process it is in."""
    def open(self, run, state):
        super().open(run, state)
        standing = {
            "pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0),
            "descriptors": {name: os.readlink(f"/proc/self/fd/{name}") for name in ("0", "1", "2")},
            "inherited": [name for name in map(os.environ.get, ["MARK"])],
            "oom": pathlib.Path("/proc/self/oom_score_adj").read_text().strip(),
            "modules": [name for name in ("polars", "typer", "numpy") if name in sys.modules],
        }
        FILE.with_name("facts").write_text(json.dumps(standing))

class Hangs(Whole):
    def points(self, stream, points): time.sleep(3600)

class Raises(Whole):
    def points(self, stream, points): raise RuntimeError("the place is full")

class Slow(Whole):
    def points(self, stream, points):
        time.sleep(0.2)
        return super().points(stream, points)

class Ponders(Whole):
    """Begins a call at once; all but the first take long."""
    def points(self, stream, points):
        if points[0].step > 0:
            FILE.with_name("pondering").touch()
            time.sleep(4)
        return super().points(stream, points)

class Dies(Whole):
    """Twice, then it works."""
    def points(self, stream, points):
        deaths = FILE.with_name("deaths")
        count = len(deaths.read_text()) if deaths.exists() else 0
        if count < 2:
            deaths.write_text("x" * (count + 1))
            os._exit(7)
        return super().points(stream, points)
'''
NAMES = ("Whole", "Apart", "Facts", "Hangs", "Raises", "Slow", "Ponders", "Dies", "Missing")
ENTRY_POINTS = "[codex_obs.destinations]\n" + "".join(f"{name.lower()} = beside_plugins:{name}\n" for name in NAMES)
# What every trainer here begins with.
HEAD = """
import logging, os, sys, time, signal, subprocess, pathlib
import codex_obs
RUN = pathlib.Path("run").absolute()
TAKEN = pathlib.Path(os.environ["TAKEN"])
def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
WORDS = []
class Hearing(logging.StreamHandler):
    def emit(self, record):
        WORDS.append(record.getMessage())
        super().emit(record)
logging.getLogger("codex_obs").addHandler(Hearing())
def said(words):
    return any(words in text for text in WORDS)
def log_until(run, condition):
    # What the engine has to say is said at the next call.
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        run.log({"loss": 0.5})
        time.sleep(0.05)
def beside():
    return [int(p.parent.name) for p in pathlib.Path("/proc").glob("[0-9]*/cmdline")
            if b"-m\\0codex_obs.sidecar" in read(p) and os.fsencode(os.getcwd()) == cwd(p.parent)]
def read(path):
    try: return path.read_bytes()
    except OSError: return b""
def cwd(path):
    try: return os.fsencode(os.readlink(path / "cwd"))
    except OSError: return b""
"""


class Place:
    """Where a trainer runs, and the files that its destination writes."""

    def __init__(self, folder: Path, site: Path) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.environ = {**os.environ, "PYTHONPATH": str(site), "TAKEN": str(folder / "taken"), "MARK": "here"}

    def begin(self, code: str, *prefix: str, **options: object) -> subprocess.Popen[str]:
        command = [*prefix, sys.executable, "-c", HEAD + code]
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            command, cwd=self.folder, env=self.environ, text=True, stderr=subprocess.PIPE, **options
        )

    def train(self, code: str, *prefix: str) -> str:
        """Run a trainer to its end. Gives what it says on standard error."""
        process = self.begin(code, *prefix)
        _, words = process.communicate(timeout=DEADLINE_S * 2)
        assert process.returncode == 0, words
        return words

    def sync(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Deliver the run later."""
        variables = {name: self.environ[name] for name in ("PYTHONPATH", "TAKEN")}
        return start("sync", self.run, "--to", name, *arguments, cwd=self.folder, on_terminal=False, **variables)

    def taken(self) -> list[str]:
        path = self.folder / "taken"
        return path.read_text().splitlines() if path.exists() else []

    def taken_apart(self) -> list[str]:
        """What the destination that keeps streams apart has got."""
        return [line for path in self.folder.glob("taken-*") for line in path.read_text().splitlines()]

    def text(self, name: str) -> str | None:
        path = self.folder / name
        return path.read_text() if path.exists() else None

    def sidecars(self) -> list[int]:
        """The processes beside trainers of this place."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                is_one = b"-m\0codex_obs.sidecar" in (process / "cmdline").read_bytes()
                if is_one and (process / "cwd").readlink() == self.folder:
                    found.append(int(process.name))
        return found


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
