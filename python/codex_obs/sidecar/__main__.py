"""Starts the process beside a trainer, which hands everything over on standard input."""

import json
import sys

if __name__ == "__main__":
    handed = json.load(sys.stdin)
    # As the trainer's: what it can import can be imported here.
    sys.path[:] = handed["path"]

    from codex_obs.sidecar import _process

    _process.run(_process.Handed.of(handed))
