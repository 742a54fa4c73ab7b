"""Records of destinations in `tracking_summary.ndjson`: when one starts, degrades, recovers and ends, to the byte."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import codex_obs
from beside import until

if TYPE_CHECKING:
    from pathlib import Path

    from beside import Place

SCHEMA = "https://codexml.ai/schemas/tracking_component.schema.json"
NOT_PROBED = {"nvml_available": None, "psutil_available": None}


def lines_of(run_dir: Path) -> list[bytes]:
    return [line for path in run_dir.glob("tracking_summary*.ndjson") for line in path.read_bytes().splitlines()]


def line(timestamp: str, component: str, status: str, what: str, **extra: object) -> bytes:
    """A record, in canonical order and with the keys of its facts sorted."""
    ordered = json.loads(json.dumps({**extra, "dependencies": NOT_PROBED}, sort_keys=True))
    record = {
        "$schema": SCHEMA,
        "schema_version": "v1",
        "timestamp": timestamp,
        "component": component,
        "status": status,
        "reason": f"{component}:{what}",
        "extra": ordered,
    }
    return json.dumps(record, separators=(",", ":")).encode()


def totals(points: int = 0, params: int = 0, rejected: int = 0) -> dict[str, int]:
    return {"params": params, "points": points, "records": 0, "rejected": rejected}


def check(lines: list[bytes], expected: list[tuple[str, str, str, dict[str, Any]]]) -> None:
    """Compare records to the byte; their times are their own."""
    validator = jsonschema.Draft202012Validator(codex_obs_schema())
    found = sorted(lines)
    times: dict[tuple[str, str, str], str] = {}
    for text in found:
        record = json.loads(text)
        validator.validate(record)
        times[record["component"], record["status"], record["reason"]] = record["timestamp"]
    wanted = [
        line(times.get((component, status, f"{component}:{what}"), ""), component, status, what, **extra)
        for component, status, what, extra in expected
    ]
    assert found == sorted(wanted)


def codex_obs_schema() -> Any:
    from importlib.resources import files  # noqa: PLC0415 - for this alone

    return json.loads((files("codex_obs") / "schemas" / "tracking_component.schema.json").read_text())


STARTED = ("ndjson", "enabled", "started", {"stream": "main", "totals": {"rows_recovered": 0}})


def test_file_destinations_start_and_end_with_what_they_took(run_dir: Path) -> None:
    with codex_obs.init(run_dir, run_id="r1", tensorboard=True, wandb="offline") as run:
        for step in range(3):
            run.log({"loss": 0.5}, step=step)
    records = [json.loads(text) for text in lines_of(run_dir)]
    ended = {record["component"]: record["extra"] for record in records if record["status"] == "disabled"}
    assert {name: extra["totals"]["points"] for name, extra in ended.items()} == {"tensorboard": 3, "wandb": 3}
    for extra in ended.values():
        assert extra.keys() == {"dependencies", "run", "stream", "totals", "uri"}
    check(
        lines_of(run_dir),
        [
            STARTED,
            *(
                (name, status, what, {"run": extra["run"], "stream": "main", "uri": extra["uri"], "totals": of})
                for name, extra in ended.items()
                for status, what, of in (("enabled", "started", totals()), ("disabled", "ended", extra["totals"]))
            ),
        ],
    )


def test_a_destination_that_fails_and_recovers_is_on_record_with_its_words(run_dir: Path, tracking: Any) -> None:
    tracking.refusal = (503, "back soon")
    with codex_obs.init(run_dir, run_id="r1", mlflow_tracking_uri=tracking.uri, export_interval_s=0.05) as run:
        run.log({"loss": 0.5}, step=0)
        until(lambda: any(b"degraded" in text for text in lines_of(run_dir)))
        tracking.refusal = None
        until(lambda: any(b"recovered" in text for text in lines_of(run_dir)))
    (remote,) = tracking.runs
    (why,) = (json.loads(text)["reason"].removeprefix("mlflow:") for text in lines_of(run_dir) if b"degraded" in text)
    assert "503" in why
    (done,) = (json.loads(text)["extra"]["totals"] for text in lines_of(run_dir) if b"mlflow:ended" in text)
    own = {"stream": "main", "uri": tracking.uri}
    check(
        lines_of(run_dir),
        [
            STARTED,
            ("mlflow", "degraded", why, {**own, "run": None, "totals": totals()}),
            ("mlflow", "enabled", "recovered", {**own, "run": remote, "totals": totals()}),
            ("mlflow", "disabled", "ended", {**own, "run": remote, "totals": done}),
        ],
    )
    assert done == totals(points=1, params=done["params"])


def test_beside_the_trainer_each_record_has_dependencies_and_totals(place: Place) -> None:
    pytest.importorskip("psutil")
    place.train("""
run = codex_obs.init(
    RUN, destinations=["whole", "missing"], system_metrics="auto", system_metrics_interval_s=0.1, prometheus_port=1
)
run.log({"loss": 0.5})
until(lambda: read(RUN / "system_metrics.jsonl").count(b"\\n") >= 2)
until(lambda: read(TAKEN))
run.close()
until(lambda: not beside())
""")
    records = [json.loads(text) for text in lines_of(place.run)]
    validator = jsonschema.Draft202012Validator(codex_obs_schema())
    for record in records:
        validator.validate(record)
        assert record["reason"].startswith(f"{record['component']}:"), record
        assert record["extra"]["dependencies"].keys() == NOT_PROBED.keys(), record
        assert isinstance(record["extra"]["totals"], dict), record
    by = {(record["component"], record["status"]): record["extra"] for record in records}
    assert by["whole", "disabled"]["totals"]["points"] == 1
    assert by["system", "disabled"]["totals"]["samples"] >= 2
    assert by["system", "disabled"]["dependencies"]["psutil_available"] is True
    assert by["missing", "degraded"]["dependencies"] == NOT_PROBED
