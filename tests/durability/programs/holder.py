"""Opens a run, logs a few rows, says its stream and what it was warned of, and waits to be killed or told to end."""

from __future__ import annotations

import json
import logging
import sys

import codex_obs


class Heard(logging.Handler):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def main() -> None:
    directory, start, calls = sys.argv[1], *map(int, sys.argv[2:4])
    heard = Heard()
    logging.getLogger("codex_obs").addHandler(heard)
    run = codex_obs.init(directory)
    for step in range(start, start + calls):
        run.log({"m": float(step)}, step=step)
    run.flush(timeout=20)
    print(json.dumps({"stream": run.stream, "said": heard.texts, "run_id": run.run_id}), flush=True)
    sys.stdin.readline()
    run.close()


main()
