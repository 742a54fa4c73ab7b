"""A reader that may not write: another user, in a run directory that only its owner may change."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOBODY = 65534


def leave_in_journal(run_dir: Path, metrics: str, steps: int) -> None:
    """Have a process log and be killed right after its last call, with most rows still in the journal."""
    program = "import codex_obs, os, sys\nrun = codex_obs.init(sys.argv[1])\n"
    program += f"for step in range({steps}):\n    run.log({metrics}, step=step)\nos.kill(os.getpid(), 9)\n"
    subprocess.run([sys.executable, "-c", program, run_dir], check=False, timeout=60)


def require_that_nobody_sees(run_dir: Path, rows: int, read: Callable[[], int]) -> None:
    """Require that `read`, as a user who may not write there, sees so many rows and changes nothing."""
    folders = (run_dir, run_dir / ".codex_obs")
    files = {path: path.read_bytes() for folder in folders for path in folder.iterdir() if path.is_file()}
    for path in (*folders, *files):
        path.chmod(0o755)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            code = 0 if read() == rows else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert {path: path.read_bytes() for path in files} == files, "a reader that may not write wrote"
