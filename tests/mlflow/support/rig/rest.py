"""The few calls of MLflow's REST interface that the tests make themselves: a bare keep-alive client."""

from __future__ import annotations

import json
import time
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RUN_TAG = "codex_obs.run_id"
# The server's own limit.
MAX_METRICS = 1000
_PAGE = 5000
# What MLflow takes for numbers that JSON does not have.
_FORMS: dict[str, object] = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


class RefusedError(Exception):
    """The server answered with a status other than 200."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body[:500]!r}")
        self.status = status
        self.body = body


# Key, time in milliseconds, step and value.
Point = tuple[str, int, int, float]
SCHEMA = {"key": pl.String, "timestamp_ms": pl.Int64, "step": pl.Int64, "value": pl.Float64}


class Client:
    """One connection, kept open, one request at a time."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=120)
        self._connection.connect()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def post(self, endpoint: str, body: object) -> dict[str, Any]:
        """Send a request with a JSON body."""
        return self.send("POST", endpoint, json.dumps(body).encode())

    def get(self, endpoint: str, **arguments: object) -> dict[str, Any]:
        """Send a request without a body."""
        return self.send("GET", f"{endpoint}?{urlencode(arguments)}", None)

    def send(self, method: str, endpoint: str, body: bytes | None) -> dict[str, Any]:
        """Send a request as it is."""
        headers = {"Content-Type": "application/json"}
        self._connection.request(method, f"/api/2.0/mlflow/{endpoint}", body, headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise RefusedError(response.status, content)
        answer = json.loads(content)
        assert isinstance(answer, dict)
        return answer

    def create_experiment(self, name: str) -> str:
        """Make an experiment."""
        return str(self.post("experiments/create", {"name": name})["experiment_id"])

    def create_run(self, experiment: str = "0") -> str:
        """Make a run."""
        body = {"experiment_id": experiment, "start_time": int(time.time() * 1000)}
        return str(self.post("runs/create", body)["run"]["info"]["run_id"])

    def run(self, run_id: str) -> dict[str, Any]:
        """Give what the server knows of a run."""
        answer: dict[str, Any] = self.get("runs/get", run_id=run_id)["run"]
        return answer

    def runs_of(self, run_id: str, experiment: str = "0") -> list[dict[str, Any]]:
        """Find the runs of the server that say they are this one of ours."""
        body: dict[str, object] = {"experiment_ids": [experiment], "max_results": 10_000}
        body["filter"] = f"tags.`{RUN_TAG}` = '{run_id}'"
        found: list[dict[str, Any]] = self.post("runs/search", body).get("runs", [])
        return found

    def runs_named(self, name: str) -> list[dict[str, Any]]:
        """Find the runs of the default experiment that have a name."""
        body = {"experiment_ids": ["0"], "filter": f"attributes.run_name = '{name}'"}
        found: list[dict[str, Any]] = self.post("runs/search", body).get("runs", [])
        return found

    def the_run_of(self, run_id: str, experiment: str = "0") -> dict[str, Any]:
        """Give the only run of the server that says it is this one of ours."""
        (run,) = self.runs_of(run_id, experiment)
        return run

    def log_batch(self, run_id: str, points: Sequence[Point]) -> None:
        """Send metrics, at most as many as the server takes at once."""
        metrics = [
            {"key": key, "value": _FORMS.get(repr(value), value), "timestamp": timestamp_ms, "step": step}
            for key, timestamp_ms, step, value in points
        ]
        self.post("runs/log-batch", {"run_id": run_id, "metrics": metrics})

    def keys(self, run_id: str) -> list[str]:
        """Give the names of a run's metrics."""
        return [metric["key"] for metric in self.run(run_id)["data"].get("metrics", [])]

    def history(self, run_id: str, key: str, page: int = _PAGE) -> Iterator[Point]:
        """Read every value of a metric, a page at a time."""
        arguments: dict[str, object] = {"run_id": run_id, "metric_key": key, "max_results": page}
        while True:
            answer = self.get("metrics/get-history", **arguments)
            for metric in answer.get("metrics", []):
                # Protocol buffers leave out a step of 0.
                step = int(metric.get("step", 0))
                yield metric["key"], int(metric["timestamp"]), step, float(metric["value"])
            if not answer.get("next_page_token"):
                return
            arguments["page_token"] = answer["next_page_token"]

    def points(self, run_id: str) -> pl.DataFrame:
        """Read every value of a run."""
        points = [point for key in self.keys(run_id) for point in self.history(run_id, key)]
        return pl.DataFrame(points, schema=SCHEMA, orient="row")
