"""The application as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# As on a terminal, without one: only standard output says that it is one.
_ON_TERMINAL = "import sys; sys.stdout.isatty = lambda: True; from codex_obs.cli import main; main()"


def start(
    *arguments: str | Path, cwd: Path, on_terminal: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; on a terminal it has 80 columns unless `COLUMNS` says otherwise."""
    environ = {key: value for key, value in os.environ.items() if key != "CODEX_OBS_RUN_DIR"}
    program = ["-c", _ON_TERMINAL] if on_terminal else ["-m", "codex_obs"]
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        cwd=cwd,
        env={**environ, "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
