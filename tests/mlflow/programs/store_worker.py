"""Runs what needs MLflow's package beside ours: each order in a forked child, so that MLflow is imported once.

An order is a JSON line on standard input: the arguments of `codex-ndjson`, a program, or what to read back. The answer
is a line with the child's number, and then, once it has ended, one with its status.
"""

from __future__ import annotations

import json
import os
import site
import sys
import traceback
from pathlib import Path
from typing import Any

PARTS = ("params", "metrics", "tags")


def command(arguments: list[str]) -> None:
    from codex_obs.cli import main  # noqa: PLC0415 - found behind MLflow's own packages

    sys.argv = ["codex-ndjson", *arguments]
    main()


def read(uri: str, experiment: str) -> dict[str, Any]:
    """Read back every run of an experiment, by MLflow's own client."""
    from mlflow import MlflowClient  # noqa: PLC0415 - imported before the fork

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None, experiment
    runs = []
    for run in client.search_runs([found.experiment_id]):
        history = [client.get_metric_history(run.info.run_id, key) for key in run.data.metrics]
        runs.append(
            {
                "run_id": run.info.run_id,
                "name": run.info.run_name,
                "status": run.info.status,
                "artifact_uri": run.info.artifact_uri,
                "params": run.data.params,
                "tags": run.data.tags,
                "points": [[one.key, repr(one.value), one.timestamp, one.step] for all_ in history for one in all_],
            }
        )
    return {"runs": runs}


def obey(order: dict[str, Any]) -> None:
    os.chdir(order["folder"])
    with Path(order["output"]).open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    if "command" in order:
        command(order["command"])
    elif "program" in order:
        exec(order["program"], {"__name__": "__main__"})
    else:
        print(json.dumps(read(order["uri"], order["experiment"])), flush=True)


def main() -> None:
    site.addsitedir(sys.argv[1])
    import mlflow.store.tracking.file_store  # noqa: PLC0415 - slow, and once for all
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401, PLC0415 - as above

    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                obey(order)
                status = 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
            except BaseException:  # noqa: BLE001 - a child goes no further than this
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        print(json.dumps({"pid": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status)}), flush=True)


main()
