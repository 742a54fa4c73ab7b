"""The first row of a forked child: nothing of it is lost without a record, and many children are no trouble."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

import codex_obs
from children import DEADLINE_S, run_in_child, wait

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.mark.parametrize("obstacle", ["descriptors", "folder", "folder until it closes"])
def test_rows_that_a_child_lost_before_it_had_a_stream_are_on_record(run_dir: Path, obstacle: str) -> None:
    run = codex_obs.init(run_dir)
    run.log({"loss": 0.5}, step=0)
    run.flush()
    internals, aside = run_dir / ".codex_obs", run_dir.with_name("aside")

    def block(*, again: bool) -> None:
        if obstacle == "descriptors":
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3 if again else hard, hard))
        elif again:
            internals.rename(aside)
            internals.write_text("in the way")
        else:
            internals.unlink()
            aside.rename(internals)

    def action() -> None:
        block(again=True)
        for step in range(1, 101):
            run.log({"loss": 1.5}, step=step)
        stats = run.stats()
        assert (stats["rows_logged"], stats["rows_dropped_unopened"]) == (100, 100)
        block(again=False)
        if obstacle != "folder until it closes":
            # The next attempt is made a second after the last.
            deadline, logged = time.monotonic() + DEADLINE_S, 100
            while run.stats()["rows_dropped"] == logged:
                assert time.monotonic() < deadline
                run.log({"loss": 1.5}, step=1000)
                logged += 1
                time.sleep(0.01)
        assert run.close()
        stats = run.stats()
        assert stats["rows_logged"] == stats["rows_written"] + stats["rows_dropped"]
        assert stats["rows_dropped"] == stats["rows_dropped_unopened"] >= 100
        run_dir.with_name("dropped").write_text(str(stats["rows_dropped"]))

    child = run_in_child(action)
    assert run.close()
    summary = (run_dir / f"tracking_summary.pid-{child}.ndjson").read_text().splitlines()
    [lost] = [json.loads(line) for line in summary if "degraded" in line]
    assert (lost["component"], lost["extra"]["cause"], lost["extra"]["first_step"]) == ("ndjson", "unopened", 1)
    assert lost["extra"]["count"] == int(run_dir.with_name("dropped").read_text())


def herd(run: codex_obs.Run, size: int) -> list[int]:
    """Fork children that log their first row at once; give what each of them dropped."""
    reports, report = os.pipe()
    gate, release = os.pipe()
    children = []
    for number in range(size):
        child = os.fork()
        if child == 0:
            os.close(release)
            os.read(gate, 1)
            for step in range(10):
                run.log({"row": 1.0}, step=number * 10 + step)
            os.write(report, f"{run.stats()['rows_dropped']}\n".encode())
            os._exit(0)
        children.append(child)
    for end in (release, gate, report):
        os.close(end)
    assert all(wait(child) == 0 for child in children)
    with os.fdopen(reports) as lines:
        return [int(line) for line in lines]


@pytest.mark.parametrize("size", [100, pytest.param(550, marks=pytest.mark.big)])
def test_of_many_children_that_log_at_once_none_loses_a_row(run_dir: Path, size: int) -> None:
    run = codex_obs.init(run_dir)
    assert herd(run, size) == [0] * size
    assert run.close(None)
    assert sorted(codex_obs.read(run_dir)["step"].to_list()) == list(range(10 * size))


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_childs_session_does_not_look_at_its_siblings(run_dir: Path) -> None:
    """What it costs must not grow with their number, so no folder is listed for it."""
    run = codex_obs.init(run_dir)
    herd(run, 3)
    trace = run_dir.with_name("trace")

    def action() -> None:
        command = ["strace", "-f", "-e", "trace=getdents64", "-o", str(trace), "-p", str(os.getpid())]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        assert "attached" in tracer.stderr.readline()
        run.log({"row": 1.0})
        assert run.close()
        list(run_dir.iterdir())
        tracer.terminate()
        tracer.wait()

    run_in_child(action)
    # Two calls list a folder: the test's own, which shows that they would be seen.
    assert trace.read_text().count("getdents64(") == 2
    assert run.close()


CLOSER = """
import os, sys, codex_obs
run = codex_obs.init(sys.argv[1])
run.log({"row": 1.0})
for number in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        run.log({"row": float(number)})
        os._exit(0)
    os.waitpid(child, 0)
assert run.close(None)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_what_many_children_left_is_synced_together(run_dir: Path) -> None:
    """Each sync waits for the disk: one after the other, those of hundreds of children take minutes."""

    def syncs(children: int) -> tuple[int, int]:
        directory, trace = run_dir.with_name(f"run-{children}"), run_dir.with_name("trace")
        tracer = ["strace", "-f", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-o", str(trace)]
        subprocess.run(
            [*tracer, sys.executable, "-W", "ignore", "-c", CLOSER, str(directory), str(children)],
            check=True,
            timeout=120,
        )
        assert codex_obs.read(directory).height == 1 + children
        assert [path.name for path in (directory / ".codex_obs").iterdir()] == ["guard"]
        text = trace.read_text()
        return text.count(" fsync("), text.count(" fdatasync(")

    few, many = syncs(1), syncs(61)
    # Sixty more streams: one more look at the folder at most, and once each of their three files.
    assert many[0] - few[0] <= 2
    assert many[1] - few[1] <= 3 * 60 + 3
