"""Deliver a run's artifacts to a local MLflow store, again, and once more after a change; print what came of it.

Usage: deliver_artifacts.py RUN STORE.
"""

import json
import sys
from pathlib import Path

from codex_obs.destinations import artifacts
from mlflow import MlflowClient


def names(client: MlflowClient, run: str, folder: str | None = None) -> list[str]:
    """The files below a folder of the run."""
    found: list[str] = []
    for each in client.list_artifacts(run, folder):
        found += names(client, run, each.path) if each.is_dir else [each.path]
    return found


def main() -> None:
    run_dir, store = Path(sys.argv[1]), sys.argv[2]
    client = MlflowClient(tracking_uri=store)
    run = client.create_run("0").info.run_id
    outcomes = [artifacts.deliver(run_dir, "mlflow", run=run, uri=store) for _ in range(2)]
    changed = run_dir / "artifacts" / "model.bin"
    changed.write_bytes(b"newer")
    outcomes.append(artifacts.deliver(run_dir, "mlflow", run=run, uri=store))
    content = Path(client.download_artifacts(run, "model.bin")).read_text()
    print(json.dumps([outcomes, sorted(names(client, run)), content]))


if __name__ == "__main__":
    main()
