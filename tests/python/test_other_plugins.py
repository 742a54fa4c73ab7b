"""Samplers and readers of another package, really installed: what they are asked, and what their trouble costs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import codex_obs
from command import start
from installed import install
from samples import ORDER, valid

if TYPE_CHECKING:
    from pathlib import Path

MODULE = """
import math, threading, time

class Room:
    def __init__(self):
        self.thread = threading.current_thread()
    def sample(self):
        assert threading.current_thread() is self.thread
        return {"temp_c": 21.5, "humidity": None, "count": 3, "broken": math.nan}

class Raises:
    def sample(self): raise ValueError("no sensor")

class Wrong:
    def sample(self): return {"a": "text"}

class Hangs:
    def sample(self): time.sleep(3600)


class Tabbed:
    def can_read(self, path):
        return path.suffix == ".tabs"
    def rows(self, path):
        for line in path.read_text().splitlines():
            step, metric, value, split, moment = line.split("\\t")
            yield {"metric": metric, "value": float(value), "step": int(step), "split": split, "timestamp": moment}
        yield {"value": 3}
        yield from ("text", None, 7, ["metric", "value"])

class Confused:
    def can_read(self, path):
        raise RuntimeError("confused")
    def rows(self, path): ...

class Late:
    def can_read(self, path):
        return path.suffix == ".late"
    def rows(self, path):
        yield {"metric": "a", "value": 1}
        raise OSError("the rest is missing")
"""
ENTRY_POINTS = """[codex_obs.samplers]
room = example_others:Room
raises = example_others:Raises
wrong = example_others:Wrong
hangs = example_others:Hangs
missing = example_nowhere:Missing
[codex_obs.readers]
a-raises = example_others:Confused
late = example_others:Late
missing = example_nowhere:Missing
tabbed = example_others:Tabbed
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install an example package with pip, into a folder of its own."""
    return install(tmp_path_factory.mktemp("plugins"), "example_others", MODULE, ENTRY_POINTS)


# One that is slow to load answers with the next sample.
PROGRAM = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from codex_obs.system import Sampler
sampler = Sampler(root=sys.argv[2], patience_s=0.3)
deadline = time.monotonic() + 30
while time.monotonic() < deadline:
    sample = sampler.sample()
    late = [error for error in sample["errors"] if "no answer" in error]
    if len(late) == 1:
        break
print(json.dumps([sample, [change.reason for change in sampler.changes()]]))
sampler.close()
"""


def test_each_sample_has_the_values_of_every_sampler_that_works(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(installed), str(tmp_path)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    sample, reasons = json.loads(done.stdout)
    assert list(valid(sample)) == [*ORDER, "plugins"]
    assert sample["plugins"] == {"room": {"temp_c": 21.5, "humidity": None, "count": 3.0, "broken": None}}
    errors = dict(error.split(": ", 1) for error in sample["errors"])
    assert set(errors) == {"sampler hangs", "sampler missing", "sampler raises", "sampler wrong"}
    assert errors["sampler raises"] == "ValueError: no sensor"
    assert "no answer" in errors["sampler hangs"]
    assert errors["sampler missing"].startswith("ModuleNotFoundError: ")
    assert "system:sampler raises" in reasons


def test_a_source_of_another_kind_is_read_by_the_reader_that_can(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "log.tabs").write_text(
        "1\tloss\t0.5\ttrain\t2026-11-20T08:00:00+00:00\n1\tacc\t0.75\teval\t2026-11-20T08:00:01Z\n2\tloss\tnan\ttrain\t2026-11-20T08:00:02Z\n"
    )
    done = start("import", "log.tabs", "--dest", "run", "--json", cwd=tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 1, "what is damaged is said"
    assert json.loads(done.stdout)["damaged"] == {
        "reader of another package (a-raises)": 1,
        "reader of another package (missing)": 1,
        "row that tabbed gave and is none": 5,
    }
    table = codex_obs.read(tmp_path / "run")
    found = table.select("step", "split", "metric", "value", "nonfinite").rows()
    assert found == [
        (1, "train", "loss", 0.5, None), (1, "eval", "acc", 0.75, None), (2, "train", "loss", None, "NaN"),
    ]  # fmt: skip
    assert table["timestamp"][1].isoformat() == "2026-11-20T08:00:01+00:00"


def test_a_reader_that_fails_leaves_no_half_run(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "log.late").touch()
    done = start("import", "log.late", "--dest", "run", cwd=tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 2
    assert "the reader late failed on log.late: OSError: the rest is missing" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.late"]
    (tmp_path / "log.other").write_text("x")
    done = start("import", "log.other", "--dest", "run", cwd=tmp_path, PYTHONPATH=str(installed))
    assert (done.returncode, "plugins list readers" in done.stderr) == (2, True)
