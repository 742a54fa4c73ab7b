"""Answers Prometheus about runs, live or ended: ``python -m codex_obs.telemetry.server [RUN…] [--port 8000]``."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from codex_obs import _backend
from codex_obs._prometheus.server import LOOPBACK, MetricsServer
from codex_obs._settings import environment
from codex_obs._visible import visible
from codex_obs.errors import CodexObsError

_PORT = 8000
_EXIT_USAGE = 2


def main(arguments: list[str] | None = None) -> int:
    """Answer until Ctrl-C or SIGTERM. Gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m codex_obs.telemetry.server", description=__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run directories; without one CODEX_OBS_RUN_DIR, else .")
    parser.add_argument("--port", type=int, default=_PORT, help=f"port to listen on; 0 takes a free one ({_PORT})")
    parser.add_argument("--address", default=LOOPBACK, help=f"address to listen on ({LOOPBACK})")
    given = parser.parse_args(arguments)
    directories = given.runs or [environment.run_dir() or "."]
    try:
        runs = [(str(Path(each).absolute()), _identity(each)) for each in directories]
        server = MetricsServer(runs, given.port, given.address)
    except (CodexObsError, OSError, OverflowError) as error:
        sys.stderr.write(f"{visible(str(error))}\n")
        return _EXIT_USAGE
    sys.stdout.write(f"http://{given.address}:{server.port}/metrics\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    server.close()
    return 0


def _identity(directory: str) -> str:
    state = _backend.run_state(directory)
    if state is None:
        raise CodexObsError(f"{directory} is no run directory: name one that has a run.json")
    return state.run_id


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    sys.exit(main())
