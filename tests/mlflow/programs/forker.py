"""Logs, forks now and then, logs in the children too, and goes on."""

from __future__ import annotations

import json
import os
import sys
import warnings

import codex_obs

told = json.loads(sys.argv[1])
run = codex_obs.init(told["directory"], **told.get("options", {}))
for step in range(told["calls"]):
    run.log({"loss": step / 7}, step=step)
    if step % 50 != 49:
        continue
    with warnings.catch_warnings():
        # Python warns of a fork while threads run, and the tests of the engine are about that.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        for number in range(20):
            run.log({"child": number / 3}, step=number)
        if step % 100 == 99:
            run.close(20.0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
closed = run.close(60.0)
print(json.dumps({"stats": run.stats(), "closed": closed}), flush=True)
