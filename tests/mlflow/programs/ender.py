"""Logs a little and ends in the manner that it is told."""

from __future__ import annotations

import json
import os
import signal
import sys

import codex_obs

told = json.loads(sys.argv[1])
manner = told["manner"]


def leave(*_: object) -> None:
    sys.exit(3)


if manner == "handler":
    signal.signal(signal.SIGTERM, leave)
run = codex_obs.init(told["directory"], **told.get("options", {}))
for step in range(told.get("calls", 5)):
    run.log({"loss": 1 / (step + 1)}, step=step)
if told.get("report_when_logged"):
    print("logged", flush=True)
    sys.stdin.readline()
match manner:
    case "return":
        run.close(told.get("close_s", 30.0))
    case "with":
        with run:
            pass
    case "exception":
        with run:
            raise ValueError("the loss went away")
    case "forgotten":
        sys.exit(0)
    case "exit":
        with run:
            sys.exit(3)
    case "interrupt":
        with run:
            signal.raise_signal(signal.SIGINT)
    case "handler":
        with run:
            signal.raise_signal(signal.SIGTERM)
    case "finish failed":
        run.finish(status="failed")
    case "kill":
        os.kill(os.getpid(), signal.SIGKILL)
