"""One fault on the way from an exporter to a real server: what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from rig.comparison import differences, expected_points
from rig.proxy import Proxy
from rig.rest import SCHEMA, Client
from rig.stub import Stub
from rig.trainer import sync, train

if TYPE_CHECKING:
    from pathlib import Path

    from rig.fault import Fault

CALLS = 10
# Two batches of what the exporter sends at once when it is not behind; one name is what poisoned faults look for.
METRICS = [*(f"layer/{number}" for number in range(9)), "poison"]
# Long enough for a time-out, quick attempts and a pause; and so short that a fault that lasts is not waited for.
PATIENT_S, IMPATIENT_S = 40.0, 5.0


@dataclass
class Outcome:
    """What the trainer saw, what the proxy saw, and what the server had, before and after `sync`."""

    report: dict[str, Any]
    requests: int
    connections: int
    requests_of_the_stranger: int
    poured: int
    # Values that are not at the server, or not once, when `close` has returned; and of these, the poisoned ones.
    before: dict[str, int]
    after: dict[str, int]
    # The names of what the exporter says the server has refused for good.
    rejected: list[dict[str, Any]] = field(default_factory=list)
    summary: list[dict[str, Any]] = field(default_factory=list)
    remote_runs: int = 0
    sync: str = ""


def run_case(fault: Fault, port: int, directory: Path) -> Outcome:
    """Train through a proxy that misbehaves; then let it behave, and deliver the rest by `sync`."""
    patient = fault.verdict in {"delivered", "rejected"}
    with Stub() as stranger, Proxy(port, fault.misbehaviour) as proxy:
        proxy.port_of_the_stranger = stranger.port
        told = {
            "directory": str(directory),
            "calls": CALLS,
            "metrics": METRICS,
            "close_s": PATIENT_S if patient else IMPATIENT_S,
            "options": {"mlflow_tracking_uri": proxy.uri},
        }
        report = train(told, **fault.environment)
        requests = len(proxy.calls())
        expected = expected_points(directory)
        rejected = lines_of(directory, "export_rejected*.ndjson*")
        if fault.verdict == "rejected":
            expected = expected.filter(pl.col("key") != "train/poison")
        before = differences(stored_points(port, directory), expected)
        proxy.heal()
        words = sync(directory, "--to", "mlflow", "--uri", proxy.uri, **fault.environment)
        return Outcome(
            report=report,
            requests=requests,
            connections=proxy.connections,
            requests_of_the_stranger=len(stranger.requests),
            poured=proxy.poured,
            before=before,
            after=differences(stored_points(port, directory), expected),
            rejected=rejected,
            summary=[line for line in lines_of(directory, "tracking_summary*") if line["component"] == "mlflow"],
            remote_runs=len(remote_runs(port, directory)),
            sync=words,
        )


def remote_runs(port: int, directory: Path) -> list[dict[str, Any]]:
    """Give the server's runs of a run directory."""
    run_id = json.loads((directory / "run.json").read_text())["run_id"]
    client = Client(port)
    try:
        return client.runs_of(run_id)
    finally:
        client.close()


def stored_points(port: int, directory: Path) -> pl.DataFrame:
    """Give what the server has of a run directory."""
    frames = [pl.DataFrame(schema=SCHEMA)]
    client = Client(port)
    try:
        frames += [client.points(run["info"]["run_id"]) for run in remote_runs(port, directory)]
    finally:
        client.close()
    return pl.concat(frames)


def lines_of(directory: Path, pattern: str) -> list[dict[str, Any]]:
    """Give the records of some files."""
    return [json.loads(line) for path in sorted(directory.glob(pattern)) for line in path.read_text().splitlines()]
