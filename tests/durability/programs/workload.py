"""A fixed amount of work with rotation, flushes and a recovery at its beginning; says at the end what it counted."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import codex_obs
from codex_obs._run import Run
from faults.tally import Tally

FLUSH_EVERY = 40


def main() -> None:
    directory, tally_path, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    start, calls = options.pop("start"), options.pop("calls")
    backing = options.pop("backing", "auto")
    # At the first of these steps the size of files is limited, at the second that ends.
    limited = options.pop("limited", [])
    tally = Tally(tally_path)
    try:
        run = Run(directory, codex_obs.Settings(**options), backing=backing)
    except codex_obs.CodexObsError as error:
        print(json.dumps({"refused": f"{type(error).__name__}: {error}"}), flush=True)
        return
    for step in range(start, start + calls):
        if step in limited:
            limit_files(f"{directory}/metrics.ndjson" if step == limited[0] else None)
        tally.log(run, {"a": step, "b": 0.5, "c": [step] if step % 10 == 0 else None}, step)
        if step % FLUSH_EVERY == 0:
            run.flush(timeout=2)
    closed = run.close(timeout=2)
    print(json.dumps({"closed": closed, "stats": run.stats()}), flush=True)


def limit_files(path: str | None) -> None:
    """Let no file grow much beyond the length of `path`, or as far as it likes."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    # In the middle of a line: the last write that fits is a partial one.
    length = hard if path is None else Path(path).stat().st_size + 3333
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, hard))


main()
