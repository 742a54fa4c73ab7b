"""Starting the programs that train, and the command that delivers afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-c", "from codex_obs.cli import main; main()")
PROGRAMS = Path(__file__).parents[2] / "programs"
# What the programs share with the fault matrix.
SHARED = PROGRAMS.parents[1] / "durability"
WATCHDOG_S = 1800.0
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_FOREIGN = ("MLFLOW_", "CODEX_", *_BUNDLES)


def is_foreign(name: str) -> bool:
    """Tell whether a variable of this machine would change what an exporter does."""
    return name.startswith(_FOREIGN) or name.lower().endswith("_proxy")


def environment(**variables: str) -> dict[str, str]:
    """Give this process's environment without what concerns MLflow, and these variables."""
    kept = {name: value for name, value in os.environ.items() if not is_foreign(name)}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(SHARED)} | variables


def start(program: str, told: dict[str, Any], **variables: str) -> subprocess.Popen[str]:
    """Start a program of the folder `programs`."""
    return subprocess.Popen(
        [sys.executable, str(PROGRAMS / f"{program}.py"), json.dumps(told)],
        env=environment(**variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def report_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a program and give what it said at the end, with its words on standard error."""
    try:
        output, errors = process.communicate(timeout=WATCHDOG_S)
    finally:
        process.kill()
    assert process.returncode == 0, errors[-4000:]
    report: dict[str, Any] = json.loads(output.splitlines()[-1])
    return report | {"errors": errors}


def train(told: dict[str, Any], **variables: str) -> dict[str, Any]:
    """Run a training loop to its end."""
    return report_of(start("trainer", told, **variables))


def sync(*arguments: object, **variables: str) -> str:
    """Deliver what a run directory holds by the command, whole; give all that it printed."""
    status, words = try_sync(*arguments, **variables)
    assert status == 0, words
    return words


def try_sync(*arguments: object, **variables: str) -> tuple[int, str]:
    """Run the command; give its status and all that it printed."""
    command = [*COMMAND, "sync", *map(str, arguments)]
    done = subprocess.run(
        command, env=environment(**variables), capture_output=True, text=True, check=False, timeout=WATCHDOG_S
    )
    return done.returncode, done.stdout + done.stderr
