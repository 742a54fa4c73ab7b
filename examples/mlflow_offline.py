"""A program that calls MLflow itself, kept on this machine: parameters, metrics and an artifact, and nothing sent.

Needs the extra `mlflow`: pip install 'codex_obs[mlflow]'

    python examples/mlflow_offline.py --output out
    mlflow ui --backend-store-uri sqlite:///$PWD/out/mlruns/mlflow.db

It asks for a server on purpose, and checks that the guard of `codex_obs` gives a store in the folder instead.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import codex_obs
from codex_obs import mlflow_guard

if TYPE_CHECKING:
    from codex_obs.mlflow_guard import Decision

EXPERIMENT = "offline"
REQUESTED = "https://mlflow.example.org"
STEPS = 20
CONFIG = {"learning_rate": 0.1, "steps": STEPS}


def main() -> None:
    """Train, and check what the guard did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="Folder of all that is written.")
    output = parser.parse_args().output.absolute()
    output.mkdir(parents=True, exist_ok=True)

    decision = mlflow_guard.bootstrap_offline_tracking(
        output / "mlruns", experiment=EXPERIMENT, requested_uri=REQUESTED
    )
    check(decision, output)
    with codex_obs.init(output / "run", config=CONFIG, mlflow_tracking_uri="") as run:
        mlflow_run_id = train(run, output)
    check_store(mlflow_run_id, output)
    check_record(decision, output)
    print(f"{STEPS} steps are in {decision.effective_uri}")
    print(f"mlflow ui --backend-store-uri {decision.effective_uri}")


def train(run: codex_obs.Run, output: Path) -> str:
    """Walk down a parabola, and log by MLflow's own client as well as by ours; gives MLflow's run."""
    import mlflow  # after the guard has had its say

    position = 4.0
    with mlflow.start_run(run_name="parabola") as active:
        mlflow.log_params(CONFIG)
        for step in range(STEPS):
            position -= CONFIG["learning_rate"] * 2 * position
            mlflow.log_metric("loss", position**2, step=step)
            run.log({"loss": position**2}, step=step)
        result = output / "result.json"
        result.write_text(json.dumps({"position": position}))
        mlflow.log_artifact(str(result))
        return str(active.info.run_id)


def is_on_this_machine(uri: str) -> bool:
    """Whether a URI leads to a file or folder here."""
    parts = urlsplit(uri)
    return parts.scheme in {"", "file", "sqlite"} and parts.netloc in {"", "localhost"}


def check(decision: Decision, output: Path) -> None:
    """Check what was decided, and that MLflow's client has heard of it."""
    import mlflow

    assert decision.requested_uri == REQUESTED, decision
    if decision.allow_remote:
        raise SystemExit(f"{decision.allow_remote_flag!r} allows servers: unset MLFLOW_ALLOW_REMOTE for this example")
    assert decision.fallback_reason == "non_file_scheme", decision
    assert is_on_this_machine(decision.effective_uri), decision
    assert mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"] == decision.tracking_uri
    assert str(output) in decision.effective_uri, decision


def check_store(run_id: str, output: Path) -> None:
    """Read back what MLflow's client has written."""
    from mlflow import MlflowClient

    client = MlflowClient()
    stored = client.get_run(run_id)
    assert client.get_experiment(stored.info.experiment_id).name == EXPERIMENT
    assert stored.info.status == "FINISHED", stored.info.status
    assert stored.data.params == {name: str(value) for name, value in CONFIG.items()}
    losses = [point.value for point in client.get_metric_history(run_id, "loss")]
    assert len(losses) == STEPS
    assert math.isclose(losses[-1], (4.0 * 0.8**STEPS) ** 2)
    artifacts = Path(unquote(urlsplit(stored.info.artifact_uri).path))
    assert artifacts.is_relative_to(output), artifacts
    assert json.loads((artifacts / "result.json").read_text())["position"] > 0


def check_record(decision: Decision, output: Path) -> None:
    """Check that the run of `codex_obs` has the decision on record."""
    lines = map(json.loads, (output / "run" / "tracking_summary.ndjson").read_text().splitlines())
    records = [line for line in lines if line["component"] == "mlflow"]
    extra = records[-1]["extra"]
    assert extra["effective_uri"] == decision.effective_uri, extra
    assert extra["fallback_reason"] == "non_file_scheme", extra


if __name__ == "__main__":
    main()
