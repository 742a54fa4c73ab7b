"""Does everything that could give a secret away: represents, pickles, logs at debug level, raises, fails."""

from __future__ import annotations

import dataclasses
import json
import logging
import pickle
import sys
import traceback

import codex_obs

told = json.loads(sys.argv[1])
logging.basicConfig(level=logging.DEBUG, format="%(name)s %(levelname)s %(message)s")
try:
    settings = codex_obs.Settings(**told.get("settings", {}))
    print(settings, repr(settings), str(dataclasses.asdict(settings)) if told.get("whole") else "")
    run = codex_obs.init(told["directory"], settings=settings)
    print(run, repr(run), run.stats(), run.config, vars(run) if hasattr(run, "__dict__") else "")
    print(pickle.dumps(run))
    run.log({"loss": 0.5, "poison": 1.0, "größe\n": 2.0}, step=1)
    run.log_params({"lr": 0.1})
    run.event("TRAIN", "a message", step=1, loss=0.5)
    print(run.flush(10.0), run.close(told.get("close_s", 6.0)), run.stats())
except (codex_obs.CodexObsError, ValueError, TypeError, OSError) as error:
    traceback.print_exc()
    print(repr(error), error, error.args, vars(error))
