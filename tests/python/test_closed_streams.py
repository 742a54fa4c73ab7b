"""Programs whose standard streams are closed: no file of ours ever has one of their numbers."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import codex_obs

if TYPE_CHECKING:
    from pathlib import Path

CALLS = 3000
COMBINATIONS = [streams for size in (1, 2, 3) for streams in itertools.combinations((0, 1, 2), size)]

# Logs while another thread writes to the closed streams as native libraries do, looks at its descriptors, also in a
# forked child, and ends by SIGKILL.
PROGRAM = r"""
import ctypes, json, os, signal, sys, threading

directory, closed, told = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
for stream in closed:
    os.close(stream)
import codex_obs

libc = ctypes.CDLL(None)
junk = b"junk of a native library\n"

def scribble():
    while not over.is_set():
        for stream in closed:
            libc.write(stream, junk, len(junk))

def seen():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass
    # A folder that is listed at this moment is not kept, and nothing can be written to it.
    return {number: path for number, path in found.items() if directory in path and not os.path.isdir(path)}

over = threading.Event()
scribbler = threading.Thread(target=scribble, daemon=True)
scribbler.start()
run = codex_obs.init(directory, max_shard_bytes=20_000, backup_count="all")
for step in range(int(sys.argv[4])):
    run.log({"m": step}, step=step)
low = [path for number, path in seen().items() if number < 3]
child = os.fork()
if child == 0:
    for step in range(10):
        run.log({"child": step}, step=step)
    run.flush()
    low = [path for number, path in seen().items() if number < 3]
    os.write(told, json.dumps(low).encode() + b"\n")
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
over.set()
os.write(told, json.dumps(low).encode() + b"\n")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("closed", COMBINATIONS, ids=str)
def test_no_descriptor_of_ours_has_the_number_of_a_closed_stream(closed: tuple[int, ...], tmp_path: Path) -> None:
    directory = tmp_path / "run"
    listening, told = os.pipe()
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(directory), json.dumps(closed), str(told), str(CALLS)], pass_fds=[told]
    )
    os.close(told)
    with os.fdopen(listening) as words:
        low = [json.loads(line) for line in words]
    assert program.wait() == -signal.SIGKILL
    assert low == [[], []], "one answer of the child, one of the parent"
    rows = codex_obs.read(directory)
    assert sorted(rows.filter(rows["metric"] == "m")["step"]) == list(range(CALLS))
    assert rows.filter(rows["metric"] == "child").height == 10
    for path in (*directory.iterdir(), *(directory / ".codex_obs").iterdir()):
        assert not path.is_file() or b"junk" not in path.read_bytes(), path


def test_a_program_without_standard_streams_keeps_what_it_opens_there(tmp_path: Path) -> None:
    """Numbers that are free stay free for the program's own files, also while runs are opened in other threads."""
    script = """
import os, sys, threading
directory = sys.argv[1]
os.close(0)
import codex_obs
with codex_obs.init(directory) as run:
    run.log({"m": 1})
print(os.open("/dev/null", os.O_RDONLY))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "run")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "0\n"
